"""Losses against worked examples in float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from textunlearn.errors import UserError
from textunlearn.methods import METHODS, Answers, Method, weights_at

VOCABULARY = 4
HARM = [[2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, -1.0], [-9.0, 0.0, 0.0, 0.0]]
HARM_IDS = [0, 3, 0]  # the last has an NLL of about 10: past the ceiling
SAFE = [[0.0, 0.0, 3.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
SAFE_IDS = [2, 1]
NOW = [[0.0, 1.0, 2.0, 0.0], [0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]
THEN = [[1.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]]
BENIGN_POSITION = [0, 1, 0, 1]  # two answers of two tokens
HARM_THEN = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [2.0, 0.0, 0.0, 0.0]]
SAFE_THEN = [[0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]
STATES = {"harmful": [[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]], "benign": [[1.0, 1.0], [2.0, 0.0], [0.0, 1.0], [3.0, 1.0]]}
STATES_THEN = {
    "harmful": [[2.0, 1.0], [1.0, 1.0], [0.0, 2.0]],
    "benign": [[1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [3.0, 4.0]],
}
ANSWERS = [[0, 1], [2]]  # two harmful answers, of two tokens and of one; the two safe ones have a token each


def answers(scale: int = 1) -> tuple[Answers, dict[str, torch.Tensor]]:
    """The example as a micro-batch; ``scale``: how many times as large the whole step is."""
    logits = {k: torch.tensor(v, requires_grad=True) for k, v in (("harmful", HARM), ("safe", SAFE), ("benign", NOW))}
    tokens = {"harmful": HARM_IDS, "safe": SAFE_IDS, "benign": [0, 0, 0, 0]}
    position = {"harmful": [0, 1, 0], "safe": [0, 0], "benign": BENIGN_POSITION}
    row = {"harmful": [0, 0, 1], "safe": [0, 1], "benign": [2, 2, 3, 3]}
    reference = {"harmful": HARM_THEN, "safe": SAFE_THEN, "benign": THEN}
    batch = Answers(
        logits,
        {k: torch.tensor(v) for k, v in tokens.items()},
        {k: torch.tensor(v) for k, v in position.items()},
        {k: torch.tensor(v) for k, v in row.items()},
        {k: torch.tensor(v) for k, v in reference.items()},
        {k: scale * len(v) for k, v in tokens.items()},
        {k: 2 * scale for k in tokens},
        progress=0.5,
    )
    for layer in (1, 2):
        batch.states[layer] = {k: layer * torch.tensor(v) for k, v in STATES.items()}
        batch.reference_states[layer] = {k: torch.tensor(v) for k, v in STATES_THEN.items()}
    return batch, logits


def _log_p(logits: list[list[float]]) -> np.ndarray:
    x = np.array(logits, np.float64)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def _nll(logits: list[list[float]], ids: list[int]) -> np.ndarray:
    return -_log_p(logits)[range(len(ids)), ids]


def _kl() -> np.ndarray:
    """KL(p_original || p_current): the expectation is the original's."""
    then, now = _log_p(THEN), _log_p(NOW)
    return (np.exp(then) * (then - now)).sum(-1)


def test_bounded_textual_unlearning() -> None:
    batch, logits = answers()
    settings = {"harm": 0.5, "safe": 1, "utility": 1.5, "ceiling": 8, "first_safe": (8, 4), "first_kl": (8, 4, 2)}
    loss = METHODS.get("textual_unlearning")(**settings).loss(batch)
    harm = np.minimum(_nll(HARM, HARM_IDS), 8).mean()
    safe = (_nll(SAFE, SAFE_IDS) * [8, 8]).mean()
    kl = (_kl() * [8, 4, 8, 4]).mean()
    assert loss.item() == pytest.approx(-0.5 * harm + safe + 1.5 * kl, rel=1e-5)
    assert batch.log["harm_nll"] == pytest.approx(_nll(HARM, HARM_IDS).mean(), rel=1e-5)
    assert batch.log["kl"] == pytest.approx(_kl().mean(), rel=1e-5)
    assert batch.log["first_token_kl"] == pytest.approx(_kl()[[0, 2]].mean(), rel=1e-5)
    loss.backward()
    assert logits["harmful"].grad[2].abs().sum() == 0, "past the ceiling nothing pulls"
    assert logits["harmful"].grad[:2].abs().sum(-1).min() > 0
    assert logits["harmful"].grad[0, 0] > 0, "descent lowers the harmful token's logit"


def test_published_form_is_unbounded_and_even() -> None:
    batch, logits = answers()
    loss = METHODS.get("textual_unlearning_published")().loss(batch)
    expected = -0.5 * _nll(HARM, HARM_IDS).mean() + _nll(SAFE, SAFE_IDS).mean() + _kl().mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits["harmful"].grad[2].abs().sum() > 0


def test_distillation() -> None:
    batch, _ = answers()
    assert METHODS.get("distillation")().loss(batch).item() == pytest.approx(_kl().mean(), rel=1e-5)


BARE = {"harm": 1, "safe": 0, "utility": 0}
"""The harm term on its own."""


def _log_sigmoid(x: np.ndarray) -> np.ndarray:
    return -np.log1p(np.exp(-x))


def _log_ratio(now: list[list[float]], then: list[list[float]], ids: list[int]) -> np.ndarray:
    """log p_current - log p_original of each token."""
    return _nll(then, ids) - _nll(now, ids)


def test_npo() -> None:
    """Eq. 3: the ratio is a whole answer's, so the log-ratios of its tokens add up."""
    ratio = _log_ratio(HARM, HARM_THEN, HARM_IDS)
    whole = np.array([ratio[tokens].sum() for tokens in ANSWERS])
    loss = METHODS.get("npo")(beta=0.5, **BARE).loss(answers()[0])
    assert loss.item() == pytest.approx((-2 / 0.5 * _log_sigmoid(-0.5 * whole)).mean(), rel=1e-5)


def test_simnpo() -> None:
    """Eq. 4: the mean log-likelihood a token, a margin, no original model."""
    nll = _nll(HARM, HARM_IDS)
    mean = np.array([nll[tokens].mean() for tokens in ANSWERS])
    loss = METHODS.get("simnpo")(beta=2.0, gamma=0.5, **BARE).loss(answers()[0])
    assert loss.item() == pytest.approx((-2 / 2.0 * _log_sigmoid(2.0 * mean - 0.5)).mean(), rel=1e-5)


@pytest.mark.parametrize("name", ["npo", "simnpo", "rmu", "rerouting"])
def test_anchors_are_those_of_textual_unlearning(name: str) -> None:
    settings = {"safe": 0.5, "utility": 2, "first_safe": (8, 4), "first_kl": (8, 4, 2), "harm": 0}
    expected = METHODS.get("textual_unlearning")(**settings).loss(answers()[0])
    batch, method = answers()[0], METHODS.get(name)(**settings)
    _only_layers(batch, method)
    assert method.loss(batch).item() == pytest.approx(expected.item(), rel=1e-6)


def test_safe_unlearning() -> None:
    ratio = _log_ratio(HARM, HARM_THEN, HARM_IDS)
    mean = np.array([ratio[tokens].mean() for tokens in ANSWERS])
    harm = (-2 * _log_sigmoid(-mean)).mean()
    benign = _nll(NOW, [0] * 4).mean()
    loss = METHODS.get("safe_unlearning")(harm=0.3, safe=0.5, utility=1, beta=1).loss(answers()[0])
    assert loss.item() == pytest.approx(0.3 * harm + 0.5 * _nll(SAFE, SAFE_IDS).mean() + benign, rel=1e-5)


def test_sft_never_looks_at_harmful_answers() -> None:
    batch, _ = answers()
    del batch.logits["harmful"], batch.reference["harmful"]
    expected = 0.5 * _nll(SAFE, SAFE_IDS).mean() + 2 * _nll(NOW, [0] * 4).mean()
    assert METHODS.get("sft")(safe=0.5, utility=2).loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_dpo() -> None:
    """Eq. 7: sums over an answer's tokens; the first safe answer belongs to the first harmful one."""
    harmful, safe = _log_ratio(HARM, HARM_THEN, HARM_IDS), _log_ratio(SAFE, SAFE_THEN, SAFE_IDS)
    margin = np.array([safe[i] - harmful[tokens].sum() for i, tokens in enumerate(ANSWERS)])
    loss = METHODS.get("dpo")(beta=0.7, preference=3, utility=0).loss(answers()[0])
    assert loss.item() == pytest.approx(-3 * _log_sigmoid(0.7 * margin).mean(), rel=1e-5)


def test_rmu() -> None:
    batch, _ = answers()
    batch.states, batch.reference_states = ({2: found[2]} for found in (batch.states, batch.reference_states))
    loss = METHODS.get("rmu")(steering=3, retain=10, **BARE).loss(batch)
    direction = torch.rand(2, generator=torch.Generator().manual_seed(0)).double().numpy()
    direction /= np.linalg.norm(direction)
    now, then = ({k: np.array(v) for k, v in found.items()} for found in (STATES, STATES_THEN))
    length = {k: np.linalg.norm(v, axis=-1, keepdims=True) for k, v in then.items()}
    forget = ((2 * now["harmful"] - 3 * length["harmful"] * direction) / length["harmful"]) ** 2
    kept = ((2 * now["benign"] - then["benign"]) / length["benign"]) ** 2
    assert loss.item() == pytest.approx(forget.sum(-1).mean() + 10 * kept.sum(-1).mean(), rel=1e-5)


def test_rerouting() -> None:
    """Half-way through training the harmful term weighs 3/4 and the harmless one 1/4."""
    loss = METHODS.get("rerouting")(**BARE).loss(answers()[0])
    now, then = ({k: np.array(v) for k, v in found.items()} for found in (STATES, STATES_THEN))
    a, b = now["harmful"], then["harmful"]  # the cosine is the same in both layers, since one is twice the other
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    moved = [np.linalg.norm(layer * now["benign"] - then["benign"], axis=-1).mean() for layer in (1, 2)]
    expected = 0.75 * np.maximum(cosine, 0).mean() + 0.25 * np.mean(moved)
    assert loss.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("name", "expected"), [("rmu", (8,)), ("rerouting", (10, 20)), ("npo", ())])
def test_layers_of_a_model_with_30(name: str, expected: tuple[int, ...]) -> None:
    assert METHODS.get(name)().layers(30) == expected


def _only_layers(batch: Answers, method: Method) -> None:
    layers = method.layers(2)
    batch.states = {layer: batch.states[layer] for layer in layers}
    batch.reference_states = {layer: batch.reference_states[layer] for layer in layers}


@pytest.mark.parametrize("name", METHODS.names())
def test_means_are_over_the_whole_step(name: str) -> None:
    """A quarter of a step weighs a quarter, in the loss and in the log."""
    whole, quarter = answers()[0], answers(scale=4)[0]
    method = METHODS.get(name)()
    for batch in (whole, quarter):
        _only_layers(batch, method)
    assert 4 * method.loss(quarter).item() == pytest.approx(method.loss(whole).item(), rel=1e-5)
    assert quarter.log == pytest.approx({k: v / 4 for k, v in whole.log.items()}, rel=1e-5)


@pytest.mark.parametrize("name", METHODS.names())
def test_a_micro_batch_without_some_role_is_a_plain_number(name: str) -> None:
    method = METHODS.get(name)()
    none = torch.zeros(0, dtype=torch.long)
    empty = torch.zeros(0, VOCABULARY, requires_grad=True)
    roles = {role: none for role in method.roles}
    reference = {role: torch.zeros(0, VOCABULARY) for role in method.roles}
    batch = Answers({role: empty for role in method.roles}, roles, roles, roles, reference, {}, {})
    layers = method.layers(2)
    batch.states = {layer: {role: torch.zeros(0, 2) for role in roles} for layer in layers}
    batch.reference_states = batch.states
    assert method.loss(batch).item() == 0 and not any(math.isnan(v) for v in batch.log.values())


def test_sums_and_means_per_answer() -> None:
    batch, _ = answers()
    values = torch.tensor([1.0, 2.0, 5.0])
    assert batch.per_answer(values, "harmful").tolist() == [3, 5]
    assert batch.per_answer(values, "harmful", mean=True).tolist() == [1.5, 5]


def test_the_last_weight_holds_for_the_rest_of_an_answer() -> None:
    assert weights_at(torch.tensor([0, 1, 2, 9, 0]), (8.0, 4.0)).tolist() == [8, 4, 4, 4, 8]
    assert weights_at(torch.tensor([0, 1]), ()).tolist() == [1, 1]


@pytest.mark.parametrize("setting", [{"harmm": 1}, {"harm": -1}, {"harm": "much"}, {"ceiling": 0}])
def test_bad_settings_are_one_sentence(setting: dict[str, object]) -> None:
    with pytest.raises(UserError) as error:
        METHODS.get("textual_unlearning")(**setting)
    text = str(error.value)
    assert next(iter(setting)) in text and "ceiling" in text and "\n" not in text


def test_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="textual_unlearning_published"):
        METHODS.get("nothing")
