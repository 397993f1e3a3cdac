"""Losses against worked examples in float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from textunlearn.errors import UserError
from textunlearn.methods import METHODS, Answers, weights_at

VOCABULARY = 4
HARM = [[2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, -1.0], [-9.0, 0.0, 0.0, 0.0]]
HARM_IDS = [0, 3, 0]  # the last has an NLL of about 10: past the ceiling
SAFE = [[0.0, 0.0, 3.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
SAFE_IDS = [2, 1]
NOW = [[0.0, 1.0, 2.0, 0.0], [0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]
THEN = [[1.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]]
BENIGN_POSITION = [0, 1, 0, 1]  # two answers of two tokens


def answers(scale: int = 1) -> tuple[Answers, dict[str, torch.Tensor]]:
    """The example as a micro-batch; ``scale``: how many times as large the whole step is."""
    logits = {k: torch.tensor(v, requires_grad=True) for k, v in (("harmful", HARM), ("safe", SAFE), ("benign", NOW))}
    tokens = {"harmful": HARM_IDS, "safe": SAFE_IDS, "benign": [0, 0, 0, 0]}
    position = {"harmful": [0, 1, 2], "safe": [0, 1], "benign": BENIGN_POSITION}
    return Answers(
        logits,
        {k: torch.tensor(v) for k, v in tokens.items()},
        {k: torch.tensor(v) for k, v in position.items()},
        torch.tensor(THEN),
        {k: scale * len(v) for k, v in tokens.items()},
        {"harmful": scale, "safe": scale, "benign": 2 * scale},
    ), logits


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
    settings = {"harm": 0.5, "utility": 1.5, "ceiling": 8, "first_safe": (8, 4), "first_kl": (8, 4, 2)}
    loss = METHODS.get("textual_unlearning")(**settings).loss(batch)
    harm = np.minimum(_nll(HARM, HARM_IDS), 8).mean()
    safe = (_nll(SAFE, SAFE_IDS) * [8, 4]).mean()
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


@pytest.mark.parametrize("name", METHODS.names())
def test_means_are_over_the_whole_step(name: str) -> None:
    """A quarter of a step weighs a quarter, in the loss and in the log."""
    whole, quarter = answers()[0], answers(scale=4)[0]
    method = METHODS.get(name)()
    assert 4 * method.loss(quarter).item() == pytest.approx(method.loss(whole).item(), rel=1e-5)
    assert quarter.log == pytest.approx({k: v / 4 for k, v in whole.log.items()}, rel=1e-5)


@pytest.mark.parametrize("name", METHODS.names())
def test_a_micro_batch_without_some_role_is_a_plain_number(name: str) -> None:
    method = METHODS.get(name)()
    none = torch.zeros(0, dtype=torch.long)
    empty = torch.zeros(0, VOCABULARY, requires_grad=True)
    roles = {role: none for role in method.roles}
    batch = Answers({role: empty for role in method.roles}, roles, roles, torch.zeros(0, VOCABULARY), {}, {})
    assert method.loss(batch).item() == 0 and not any(math.isnan(v) for v in batch.log.values())


def test_weights_at() -> None:
    assert weights_at(torch.tensor([0, 1, 2, 0, 1]), (8.0, 4.0)).tolist() == [8, 4, 1, 8, 4]
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
