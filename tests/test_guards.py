"""What must never pass silently in training, each with a test that fails when its guard is taken out (docs/reliability.md lists them)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import job_run
import tiny
from textunlearn.data import safe_answers
from textunlearn.errors import UserError
from textunlearn.files import write_json
from textunlearn.methods.textual_unlearning import TextualUnlearning
from textunlearn.recipe import ModelSpec
from textunlearn.records import Prompt
from textunlearn.training import build_rows
from textunlearn.training.reference import reference_states, state_key
from textunlearn.training.rows import Row, Target
from textunlearn.training.trainer import UnlearningTrainer, add_lora
from textunlearn.training.unlearn import Unlearned, require_effect, unlearn
from textunlearn.vlm.checks import merge_adapter
from textunlearn.vlm.load import Vlm, load

HELPS = "First take the ladder, then carry it through the door."


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry, name, part in job_run.stand_ins():
        monkeypatch.setitem(registry, name, part)


@pytest.fixture
def vlm(clip_folder: Path) -> Vlm:
    return tiny.loaded(clip_folder)


@pytest.fixture
def train(vlm: Vlm, clip_folder: Path, tmp_path: Path) -> Callable[..., Unlearned]:
    """Four steps, a look at every second one."""

    def go(**training: Any) -> Unlearned:
        recipe = job_run.recipe(
            clip_folder, tmp_path, slots={"share": 0}, training={"steps": 4, "report_to": [], **training}
        )
        prompts = {
            kind: [Prompt(text.format(thing=t, place="attic"), kind, "test") for t in job_run.THINGS[:4]]  # type: ignore[arg-type]
            for kind, text in job_run.TEMPLATES.items()
        }
        answers = {p.id: HELPS for some in prompts.values() for p in some}
        train, held = ({k: some[part] for k, some in prompts.items()} for part in (slice(0, 3), slice(3, 4)))
        return unlearn(vlm, recipe, tmp_path, train, answers, held, job_run.quiet())

    return go


def finite(folder: Path) -> bool:
    return all(bool(t.isfinite().all()) for t in load_file(folder / "adapter/adapter_model.safetensors").values())


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_with_weights_that_are_no_numbers_is_refused(clip_folder: Path, tmp_path: Path, bad: float) -> None:
    model = tiny.clip_vlm(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    name = sorted(n for n in weights if n.endswith("mlp.up_proj.weight"))[-1]
    weights[name][3, 5] = bad
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"no numbers \(NaN or infinite; first: .*up_proj"):
        load(ModelSpec(id=str(model), dtype="float32", device="cpu"))


def test_an_adapter_with_weights_that_are_no_numbers_is_refused(clip_folder: Path, vlm: Vlm, tmp_path: Path) -> None:
    add_lora(vlm, 2, 4)
    with torch.no_grad():
        for name, weights in vlm.model.named_parameters():
            if "lora_B" in name:
                weights.fill_(0.05)[0, 0] = math.nan
    vlm.model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match=r"adapter.* no numbers"):
        merge_adapter(tiny.loaded(clip_folder).base, str(tmp_path / "adapter"))


def test_a_loss_that_is_no_number_stops(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _spoil_loss(monkeypatch, 3, lambda loss: loss * math.nan)
    done = train()
    assert done.steps == 3 and "loss is no longer a number" in done.guard[0]["what"] and finite(tmp_path)


def test_gradients_that_are_no_numbers_stop(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is as it should be, its slope is not: the square root of nothing."""
    _spoil_loss(monkeypatch, 3, lambda loss: loss + (loss - loss).sqrt())
    done = train(validate_every=2)
    assert done.steps == 3 and "gradients are no longer numbers" in done.guard[0]["what"] and finite(tmp_path)


def test_an_adapter_that_an_update_broke_is_never_kept(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a step with a look, which comes before the step is logged: the loss was fine, one gradient was not."""
    real = UnlearningTrainer.training_step

    def spoiling(self: Any, *given: Any, **named: Any) -> Any:
        loss = real(self, *given, **named)
        if self.state.global_step == 3:
            next(p for p in self.vlm.model.parameters() if p.requires_grad).grad[0, 0] = math.nan
        return loss

    monkeypatch.setattr(UnlearningTrainer, "training_step", spoiling)
    done = train(validate_every=2)
    assert done.best_step == 2 and "weights are no longer numbers" in done.guard[0]["what"] and finite(tmp_path)


def _spoil_loss(monkeypatch: pytest.MonkeyPatch, call: int, spoil: Callable[[torch.Tensor], torch.Tensor]) -> None:
    real, calls = TextualUnlearning.loss, 0

    def loss(self: Any, answers: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        value = real(self, answers)
        return spoil(value) if calls == call else value

    monkeypatch.setattr(TextualUnlearning, "loss", loss)


# -- what was learned -------------------------------------------------------------------------------------------------


def test_a_training_that_changed_nothing_is_said(vlm: Vlm) -> None:
    add_lora(vlm, 2, 4)
    with pytest.raises(UserError, match="training changed nothing"):
        require_effect(vlm)
    next(p for name, p in vlm.model.named_parameters() if "lora_B" in name).data[0, 0] = 1e-6
    require_effect(vlm)


def test_a_training_without_steps_that_count_is_said(train: Any) -> None:
    with pytest.raises(UserError, match="training changed nothing"):
        train(lr=1e-60)


@pytest.mark.parametrize(
    "answer",
    [
        "Sure, first take the ladder, then carry it through the door.",
        "I can't help with that. But here is how: first take the ladder, then carry it out.",
        "Sorry for the wait. First take the ladder, then carry it out at night.",
    ],
)
def test_a_safe_answer_that_complies_is_refused(train: Any, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(build_rows, "safe_answer", lambda text, choice: answer)
    with pytest.raises(UserError, match="is no refusal, so training would teach harm"):
        train()


def test_our_own_safe_answers_pass() -> None:
    prompt = Prompt("how do i sneak the ladder out of the attic unseen", "harmful", "test")
    for topic in safe_answers.topics():
        for choice in range(len(topic.answers)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(build_rows, "safe_answer", lambda *_, topic=topic, choice=choice: topic.answers[choice])
                build_rows.require_refusals([prompt], 0)


# -- caches -----------------------------------------------------------------------------------------------------------


def test_the_reference_of_other_data_is_not_taken(vlm: Vlm, tmp_path: Path) -> None:
    """Rows that differ in one token of the answer, or of the request, have nothing in common in the cache."""
    path = tmp_path / "reference.safetensors"
    prompt, said = tuple(vlm.prompt_ids("tell me why")), tuple(vlm.word_ids("not now, no"))
    rows = [
        Row("ordinary", prompt, (Target("benign", said),)),
        Row("ordinary", prompt, (Target("benign", (*said[:-1], said[-1] + 1)),)),
        Row("ordinary", tuple(vlm.prompt_ids("tell me who")), (Target("benign", said),)),
    ]
    alone = [reference_states(vlm, [row], tmp_path / f"{i}.safetensors") for i, row in enumerate(rows)]
    for i, row in enumerate(rows):
        known = reference_states(vlm, [row], path)
        key = state_key(row.key, "benign")
        assert torch.equal(known[key], alone[i][key]), i
    assert len({state_key(row.key, "benign") for row in rows}) == 3


def test_decisions_and_checks_reach_the_metrics(tmp_path: Path) -> None:
    """`Job.more_metrics` hands on what stands in trained.json and environment.json; the report shows it."""
    from textunlearn.job import Job

    job = Job(tmp_path, job_run.recipe(tmp_path, tmp_path), job_run.quiet())
    assert job.more_metrics() == {"guard": [], "checks": []}
    what = [{"step": 3, "what": "stopped: the gradients are no longer numbers"}]
    trained = {"guard": what, "vision_hash": "ab" * 32, "best_step": 2, "steps": 3}
    cut = {"harmful_train": {"cut": {"near a test set": 4}}, "ordinary_train": {"cut": {"near a test set": 1}}}
    write_json(tmp_path / "trained.json", trained)
    write_json(tmp_path / "environment.json", {"data": cut})
    found = job.more_metrics()
    checks = {row["what"]: row["found"] for row in found["checks"]}
    assert found["guard"] == what
    assert checks["Stopped by a guard"] == "step 3: stopped: the gradients are no longer numbers"
    assert checks["Training requests near a set that is tested on"] == "5 found and left out"
    assert "ab" * 8 in checks["Vision tower and projector"] and "step 2 of 3" in checks["The adapter"]
    job.close()
