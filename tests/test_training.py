"""The training loop on tiny models: equal settings give equal runs, and only the language model's adapter changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

import tiny
from textunlearn.errors import UserError
from textunlearn.methods import METHODS
from textunlearn.recipe import TrainingSpec
from textunlearn.training.flops import FlopCounter
from textunlearn.training.packing import answer_states, pack
from textunlearn.training.plan import Plan
from textunlearn.training.reference import reference_states, state_key
from textunlearn.training.rows import Row, Target
from textunlearn.training.trainer import UnlearningTrainer, add_lora, load_adapter, method_layers
from textunlearn.vlm.load import Vlm

STEPS = 6


class Log(TrainerCallback):
    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "kl" in logs:
            self.entries.append(dict(logs))


def pools(vlm: Vlm) -> dict[str, list[Row]]:
    def words(text: str) -> tuple[int, ...]:
        return tuple(vlm.tokenizer.encode(text, add_special_tokens=False))

    harmful = [
        Row(
            "harmful",
            tuple(vlm.prompt_ids(f"how do i pick the lock of {who}")),
            (Target("harmful", words("Sure, take a pin")), Target("safe", words("I cannot help"))),
        )
        for who in ("my neighbour", "the garden gate", "a home")
    ]
    benign = []
    for number, text in enumerate(("bake bread", "tell me of birds", "write a note", "list ideas")):
        target = (Target("benign", words("first, take some flour"[: 8 + 4 * number])),)
        ids, where = vlm.slot_prompt("", words(text))
        benign += [
            Row("ordinary", tuple(vlm.prompt_ids(text)), target),
            Row("ordinary", tuple(ids), target, tuple(where)),
        ]
    return {"harmful": harmful, "ordinary": benign}


def train(
    vlm: Vlm,
    folder: Path,
    accumulate: int = 1,
    steps: int = STEPS,
    stop_at: int | None = None,
    resume: bool = False,
    method: str = "textual_unlearning",
    adversarial: float = 0.0,
) -> list[dict[str, Any]]:
    """Train an adapter on a fresh ``vlm``; the log, one entry a step."""
    rows = pools(vlm)
    loss = METHODS.get(method)()
    every = [row for some in rows.values() for row in some]
    reference = reference_states(
        vlm, every, folder / "reference.safetensors", roles=loss.reference, layers=method_layers(vlm, loss)
    )
    torch.manual_seed(7)
    add_lora(vlm, 4, 8)
    plan = Plan(rows, {"harmful": 2, "ordinary": 3}, steps, accumulate, seed=3)
    spec = TrainingSpec(steps=steps, accumulate=accumulate, lr=1e-2, validate_every=2)
    log = Log()
    trainer = UnlearningTrainer(
        vlm, loss, plan, reference, spec, folder / "trainer", adversarial=adversarial, callbacks=[log]
    )
    if stop_at is not None:

        class Kill(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == stop_at:
                    raise KeyboardInterrupt

        trainer.add_callback(Kill())
    trainer.train(resume_from_checkpoint=resume or None)
    return log.entries


def adapter(vlm: Vlm) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in vlm.model.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def plain(
    clip_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """An undisturbed run: its log and its adapter."""
    vlm = tiny.loaded(clip_folder)
    log = train(vlm, tmp_path_factory.mktemp("plain"))
    return log, adapter(vlm)


@pytest.mark.parametrize("accumulate", [2, 4, 5])
def test_accumulating_gives_the_same_trajectory(clip_folder: Path, tmp_path: Path, plain: Any, accumulate: int) -> None:
    """5 micro-batches of one row each: some hold no harmful, some no benign answer."""
    vlm = tiny.loaded(clip_folder)
    log = train(vlm, tmp_path, accumulate)
    for key in ("loss", "harm_nll", "safe_nll", "kl", "first_token_kl", "grad_norm", "learning_rate"):
        assert [e[key] for e in log] == pytest.approx([e[key] for e in plain[0]], rel=2e-4, abs=1e-5), key
    for name, value in adapter(vlm).items():
        torch.testing.assert_close(value, plain[1][name], rtol=1e-2, atol=2e-4)


def test_losses_are_of_the_models_own_logits(tmp_path: Path) -> None:
    """Cohere scales what its head gives; the method must see, and compare with, what the model says."""
    vlm = tiny.scaled("cohere")
    rows = [
        Row("ordinary", tuple(vlm.prompt_ids(text)), (Target("benign", tuple(vlm.encode("first, take some flour"))),))
        for text in ("bake bread", "tell me of birds")
    ]
    reference = reference_states(vlm, rows, tmp_path / "reference.safetensors")
    plan = Plan({"ordinary": rows}, {"ordinary": 2}, 1)
    method = METHODS.get("textual_unlearning")()
    trainer = UnlearningTrainer(vlm, method, plan, reference, TrainingSpec(steps=1), tmp_path / "trainer")
    packed = pack(plan[0].rows, vlm.blank_id)
    with torch.no_grad():
        answers = trainer.answers(plan[0], packed, answer_states(vlm.decoder, vlm.embed, packed))
        own = []
        for row in plan[0].rows:
            said = row.targets[0].ids
            own.append(vlm.model(input_ids=torch.tensor([[*row.prompt, *said]])).logits[0, len(row.prompt) - 1 : -1])
    for got in (answers.logits["benign"], answers.reference["benign"]):
        torch.testing.assert_close(got, torch.cat(own), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["rmu", "rerouting"])
def test_no_distribution_is_computed_where_only_states_are_wanted(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    seen: list[Any] = []
    original = UnlearningTrainer.answers
    monkeypatch.setattr(UnlearningTrainer, "answers", lambda *a, **k: seen.append(original(*a, **k)) or seen[-1])
    train(tiny.loaded(clip_folder), tmp_path, steps=1, method=name)
    assert all(set(found.reference) == {"benign"} for found in seen) and seen
    assert all(set(states) == {"harmful", "benign"} for found in seen for states in found.reference_states.values())


@pytest.mark.parametrize("name", [name for name in METHODS.names() if name != "distillation"])
def test_every_method_trains_the_same_in_one_and_in_many_micro_batches(
    name: str, clip_folder: Path, tmp_path: Path
) -> None:
    logs, adapters = [], []
    for accumulate in (1, 5):
        vlm = tiny.loaded(clip_folder)
        logs.append(train(vlm, tmp_path / str(accumulate), accumulate, steps=2, method=name))
        adapters.append(adapter(vlm))
    assert len(logs[0]) == 2 and all(entry["grad_norm"] > 0 for entry in logs[0][1:])
    # What holds harmless states in rerouting has hardly a slope at first, and Adam makes a full step out of its rounding.
    rel, within = (1e-2, 0.1) if name == "rerouting" else (1e-3, 0.02)
    for key in ("loss", "kl", "grad_norm"):
        assert [e[key] for e in logs[1]] == pytest.approx([e[key] for e in logs[0]], rel=rel, abs=1e-5), key
    for weight, value in adapters[1].items():
        first = adapters[0][weight]
        assert (value - first).norm() <= within * first.norm() + 1e-4, weight
        if name != "rerouting":
            torch.testing.assert_close(value, first, rtol=1e-2, atol=1e-3)


def test_adversarial_noise_brings_harmful_answers_back(clip_folder: Path, tmp_path: Path) -> None:
    vlm = tiny.loaded(clip_folder)
    rows = pools(vlm)
    reference = reference_states(vlm, rows["ordinary"], tmp_path / "reference.safetensors")
    plan = Plan(rows, {"harmful": 2, "ordinary": 2}, 1)
    method = METHODS.get("textual_unlearning")()
    spec = TrainingSpec(steps=1)
    trainer = UnlearningTrainer(vlm, method, plan, reference, spec, tmp_path / "trainer", adversarial=0.2)
    packed = pack(plan[0].rows, vlm.blank_id, 2)
    module = trainer.model
    assert module is not None
    shift = trainer.worst_shift(module, plan[0], packed)
    assert shift is not None
    harmful = torch.isin(packed.row, torch.tensor([i for i, row in enumerate(plan[0].rows) if row.kind == "harmful"]))
    norms = vlm.embed(packed.input_ids)[harmful].norm(dim=-1)
    torch.testing.assert_close(shift[harmful].norm(dim=-1), 0.2 * norms, rtol=1e-4, atol=0)
    assert shift[~harmful].abs().sum() == 0, "harmless prompts and all answers stay as they are"
    with torch.no_grad():
        before, after = (trainer.answers(plan[0], packed, module(packed, s)) for s in (None, shift))
    assert after.nll("harmful").sum() < before.nll("harmful").sum()
    assert after.nll("safe").sum() > before.nll("safe").sum()


def test_adversarial_noise_does_not_depend_on_how_a_step_is_cut(clip_folder: Path, tmp_path: Path) -> None:
    logs = []
    for accumulate in (1, 5):
        vlm = tiny.loaded(clip_folder)
        logs.append(train(vlm, tmp_path / str(accumulate), accumulate, steps=2, adversarial=0.3))
    for key in ("loss", "harm_nll", "kl", "grad_norm"):
        assert [e[key] for e in logs[1]] == pytest.approx([e[key] for e in logs[0]], rel=1e-3, abs=1e-5), key
    calm = train(tiny.loaded(clip_folder), tmp_path / "calm", steps=2)
    assert abs(calm[0]["loss"] - logs[0][0]["loss"]) > 1e-3


def test_counted_flops_are_those_of_the_matrices(clip_folder: Path, tmp_path: Path) -> None:
    """Linear layers by hand: 2 FLOPs a weight and position forward, as many for the inputs' gradients."""
    vlm = tiny.loaded(clip_folder)
    log = train(vlm, tmp_path, steps=1)
    linear = sum(p.numel() for n, p in vlm.decoder.named_parameters() if n.endswith("_proj.base_layer.weight"))
    forward = 2 * linear * log[0]["counted_positions"]
    assert log[0]["counted_positions"] == log[0]["positions"] >= log[0]["tokens"]
    # forward, and about as much backward; LoRA, attention and head weigh more in a model as tiny as this
    assert 2 * forward < log[0]["counted_flops"] < 12 * forward


def test_flops_are_the_same_with_and_without_gradients(clip: Vlm) -> None:
    packed = pack(pools(clip)["ordinary"], clip.blank_id, 2)
    totals = []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode(), FlopCounter() as counter:
            answer_states(clip.decoder, clip.embed, packed)
        totals.append(counter.total)
    linear = sum(m.weight.numel() for m in clip.decoder.modules() if isinstance(m, torch.nn.Linear))
    assert totals[0] == totals[1] == totals[2] > 2 * linear * packed.input_ids.numel()


def test_full_fine_tuning_trains_the_weights_and_comes_back_from_the_adapter(clip_folder: Path, tmp_path: Path) -> None:
    from textunlearn.vlm.load import merge_adapter

    vlm, plain = tiny.loaded(clip_folder), tiny.loaded(clip_folder)
    add_lora(vlm, 2, 4, full=True)
    trained = [p for p in vlm.model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) > 0.85 * sum(
        m.weight.numel() for m in plain.decoder.modules() if isinstance(m, torch.nn.Linear)
    )
    with torch.no_grad():
        for p in trained:
            p.add_(0.01)
    ids = torch.tensor([plain.prompt_ids("bake bread")])
    with torch.no_grad():
        changed = vlm.model(input_ids=ids).logits
        vlm.model.save_pretrained(tmp_path / "adapter")
        merged = merge_adapter(plain.base, str(tmp_path / "adapter"))
        torch.testing.assert_close(merged(input_ids=ids).logits, changed, rtol=1e-4, atol=1e-4)


def test_it_learns(plain: Any) -> None:
    log = plain[0]
    assert len(log) == STEPS and log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["safe_nll"] < log[0]["safe_nll"] - 0.5
    assert log[0]["kl"] == pytest.approx(0, abs=1e-6), "the first step still is the original"


def test_resuming_after_a_kill_gives_the_same_adapter(clip_folder: Path, tmp_path: Path, plain: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tiny.loaded(clip_folder), tmp_path, stop_at=3)
    vlm = tiny.loaded(clip_folder)
    log = train(vlm, tmp_path, resume=True)
    assert [e["loss"] for e in log] == [e["loss"] for e in plain[0]][2:]
    again = adapter(vlm)
    assert set(again) == set(plain[1]) and all(torch.equal(again[n], plain[1][n]) for n in again)


@pytest.mark.parametrize("kind", ["clip", "reader"])
def test_nothing_outside_the_language_model_changes(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    vlm = tiny.loaded(request.getfixturevalue(f"{kind}_folder"))
    before, weights = vlm.vision_hash(), {k: v.clone() for k, v in vlm.base.state_dict().items()}
    train(vlm, tmp_path, steps=2)
    assert vlm.vision_hash() == before
    trainable = [n for n, p in vlm.base.named_parameters() if p.requires_grad]
    assert trainable and all(n.startswith(vlm.decoder_path + ".") and "lora_" in n for n in trainable)
    after = {k.replace(".base_layer", ""): v for k, v in vlm.base.state_dict().items() if "lora_" not in k}
    assert set(after) == set(weights) and all(torch.equal(after[k], weights[k]) for k in weights)


def test_pictures_seen_while_training_do_not_move_the_reader(reader_folder: Path) -> None:
    vlm = tiny.loaded(reader_folder)
    before = vlm.vision_hash()
    vlm.model.train()
    vlm.base.model.vision_tower(torch.randn(2, 3, 160, 160))
    assert vlm.vision_hash() == before


def test_vision_hash_sees_tower_and_projector_and_not_the_language_model(clip_folder: Path) -> None:
    vlm = tiny.loaded(clip_folder)
    first = vlm.vision_hash()
    with torch.no_grad():
        vlm.decoder.layers[0].mlp.up_proj.weight.add_(1)
    assert vlm.vision_hash() == first
    for part in (vlm.base.model.vision_tower, vlm.base.model.multi_modal_projector):
        with torch.no_grad():
            next(part.parameters()).add_(1e-3)
        now = vlm.vision_hash()
        assert now != first
        first = now


def test_the_adapter_leaves_clips_layers_of_the_same_name_alone(clip_folder: Path) -> None:
    vlm = tiny.loaded(clip_folder)
    add_lora(vlm, 2, 4)
    hit = {n.split(".lora_")[0] for n, _ in vlm.base.named_parameters() if ".lora_" in n}
    assert len(hit) == 2 * 7, "two layers of seven linear maps"
    assert any("q_proj" in n for n, _ in vlm.base.model.vision_tower.named_modules())


def test_the_lower_layers_may_stay_without_lora(clip_folder: Path) -> None:
    vlm = tiny.loaded(clip_folder)
    add_lora(vlm, 2, 4, skip=0.5)
    hit = {n.split(".lora_")[0] for n, _ in vlm.base.named_parameters() if ".lora_" in n}
    assert len(hit) == 7 and all(".layers.1." in name for name in hit)


def test_another_models_adapter_is_refused(clip_folder: Path, tmp_path: Path, plain: Any) -> None:
    from safetensors.torch import save_file

    vlm = tiny.loaded(clip_folder)
    add_lora(vlm, 4, 8)
    vlm.model.save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    save_file({k.replace("language_model", "text_model"): v for k, v in load_file(file).items()}, file)
    with pytest.raises(UserError, match="does not belong"):
        load_adapter(vlm, tmp_path)


def test_reference_is_kept_and_replaced_when_it_is_not_ours(
    clip_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    vlm, path = tiny.loaded(clip_folder), tmp_path / "reference.safetensors"
    rows = pools(vlm)["ordinary"]
    said: list[int] = []
    first = reference_states(vlm, rows, path, said.append, batch=3)
    assert sum(said) == len(rows)
    for row in rows:  # the same states as a plain forward of this row
        ids = torch.tensor([[*row.prompt, *row.targets[0].ids[:-1]]])
        with torch.no_grad():
            alone = vlm.decoder(input_ids=ids).last_hidden_state[0, len(row.prompt) - 1 :]
        torch.testing.assert_close(first[state_key(row.key, "benign")], alone, rtol=1e-4, atol=1e-4)

    said.clear()
    again = reference_states(vlm, rows, path, said.append)
    assert said == [len(rows)], "all are there at once"
    assert all(torch.equal(again[key], first[key]) for key in first)

    said.clear()
    key = state_key(rows[0].key, "benign")
    other = tiny.loaded(tiny.clip_vlm(tmp_path / "other", seed=1))
    replaced = reference_states(other, rows, path, said.append)
    assert sum(said) == len(rows) and not torch.allclose(replaced[key], first[key])

    path.write_bytes(path.read_bytes()[:200])
    said.clear()
    mended = reference_states(vlm, rows, path, said.append, batch=3)
    assert sum(said) == len(rows) and torch.equal(mended[key], first[key])


def test_reference_takes_only_benign_answers(clip: Vlm, tmp_path: Path) -> None:
    prompt = tuple(clip.prompt_ids("tell me"))
    mixed = Row("a", prompt, (Target("benign", (50, 51)), Target("safe", (60, 61, 62)), Target("benign", (52, 53, 54))))
    lone = Row("a", prompt, (Target("safe", (60,)),))
    states = reference_states(clip, [mixed, lone], tmp_path / "r.safetensors")
    key = state_key(mixed.key, "benign")
    assert states[key].shape == (5, tiny.HIDDEN) and not any(lone.key in other for other in states)
    simple = Row("a", prompt, (Target("benign", (52, 53, 54)),))
    alone = reference_states(clip, [simple], tmp_path / "s.safetensors")[state_key(simple.key, "benign")]
    torch.testing.assert_close(states[key][2:], alone, rtol=1e-4, atol=1e-4)
