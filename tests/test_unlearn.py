"""Unlearning as one call on a tiny model: what it refuses to do, which adapter it ends with, what it leaves alone."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

import job_run
import tiny
from textunlearn.data.packages import WHEELS
from textunlearn.errors import UserError
from textunlearn.files import read_json
from textunlearn.judges import DEFAULT
from textunlearn.methods.textual_unlearning import TextualUnlearning
from textunlearn.recipe import Recipe
from textunlearn.records import Kind, Prompt
from textunlearn.training import tracking
from textunlearn.training import watch as watching
from textunlearn.training.unlearn import Unlearned, unlearn
from textunlearn.training.watch import Look
from textunlearn.vlm.load import Vlm

HELPS, REFUSES = "First take the ladder, then carry it through the door.", "I can't help with that request."


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(
        "TEXTUNLEARN_CACHE", str(tmp_path / "cache")
    )  # nor does the default judge fetch anything to watch
    monkeypatch.setenv(WHEELS, str(tmp_path))
    for registry, name, part in job_run.stand_ins():
        monkeypatch.setitem(registry, name, part)


@pytest.fixture
def vlm(reader_folder: Path) -> Vlm:
    return tiny.loaded(reader_folder)


Run = Callable[..., Unlearned]


@pytest.fixture
def run(vlm: Vlm, reader_folder: Path, tmp_path: Path) -> Run:
    """Unlearn in ``tmp_path``; answers of a kind can be replaced, and recipe sections changed."""

    def go(said: dict[str, str] | None = None, **changes: dict[str, Any]) -> Unlearned:
        changes["evaluation"] = {"judge": DEFAULT, **changes.get("evaluation", {})}
        recipe: Recipe = job_run.recipe(reader_folder, tmp_path, **changes)
        kinds: tuple[Kind, ...] = ("harmful", "lookalike", "ordinary")
        prompts = {
            kind: [
                Prompt(job_run.TEMPLATES[kind].format(thing=thing, place=place), kind, "test", "question")
                for thing, place in zip(job_run.THINGS[:8], job_run.PLACES, strict=False)
            ]
            for kind in kinds
        }
        answers = {p.id: (said or {}).get(kind, HELPS) for kind, some in prompts.items() for p in some}
        train, held_out = ({k: some[part] for k, some in prompts.items()} for part in (slice(0, 6), slice(6, 8)))
        return unlearn(vlm, recipe, tmp_path, train, answers, held_out, job_run.quiet())

    return go


def costs(monkeypatch: pytest.MonkeyPatch, vlm: Vlm, planned: list[float]) -> dict[int, dict[str, torch.Tensor]]:
    """Let the looks find these costs; gives, by step, the adapter as it was at each."""
    adapters: dict[int, dict[str, torch.Tensor]] = {}

    def look(_: Any, probes: Any, judge: Any, step: int, tokens: int) -> Look:
        adapters[step] = {n: p.detach().clone() for n, p in vlm.model.named_parameters() if p.requires_grad}
        return Look(step, {"harmful typed": planned[len(adapters) - 1]}, {}, {}, 0.0)

    monkeypatch.setattr(watching, "look", look)
    return adapters


def active(vlm: Vlm) -> dict[str, torch.Tensor]:
    return {n: p for n, p in vlm.model.named_parameters() if "lora_" in n}


def test_the_best_adapter_ends_in_the_folder_and_on_the_model(
    run: Run, vlm: Vlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = costs(monkeypatch, vlm, [1.0, 0.9, 0.2, 0.5])
    before = vlm.vision_hash()
    done = run()
    assert (done.best_step, done.steps, done.guard) == (4, 6, [])
    assert done.vision_hash == vlm.vision_hash() == before
    now = active(vlm)
    assert set(now) == set(adapters[4]) and all(torch.equal(now[n], adapters[4][n]) for n in now)
    assert not all(torch.equal(now[n], adapters[6][n]) for n in now)
    saved = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert {n.replace(".default", ""): v.sum().item() for n, v in now.items()} == {
        n: v.sum().item() for n, v in saved.items()
    }
    assert not vlm.model.training
    assert (tmp_path / "checkpoints").is_dir(), "the caller removes them, once it has kept the result"


def test_a_loss_that_is_no_number_stops_it_and_the_best_adapter_stays(
    run: Run, vlm: Vlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs(monkeypatch, vlm, [1.0, 0.5, 5.0])
    real, calls = TextualUnlearning.loss, 0

    def loss(self: Any, answers: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return real(self, answers) * (float("nan") if calls == 4 else 1)

    monkeypatch.setattr(TextualUnlearning, "loss", loss)
    done = run()
    assert (done.best_step, done.steps) == (2, 4) and "weights are no longer numbers" in done.guard[0]["what"]
    assert "loss is no longer a number" in done.guard[1]["what"]
    assert all(bool(p.isfinite().all()) for p in active(vlm).values())


def test_a_model_that_refuses_already_is_left_alone(run: Run, vlm: Vlm, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="already refuses every harmful training request"):
        run({"harmful": REFUSES})
    assert not hasattr(vlm.model, "peft_config") and not (tmp_path / "training.jsonl").exists()


def test_a_model_that_answers_nothing_harmless_is_refused(run: Run) -> None:
    with pytest.raises(UserError, match="none of the harmless training requests"):
        run({"lookalike": REFUSES, "ordinary": ""})


def test_one_kind_of_harmless_requests_suffices(run: Run) -> None:
    assert run({"lookalike": REFUSES}, training={"steps": 2}).steps == 2


def test_distillation_trains_on_harmless_rows_alone(run: Run) -> None:
    done = run(method={"name": "distillation"}, training={"steps": 2})
    assert done.steps == 2


def test_a_stop_before_the_first_look_keeps_what_is_there_if_it_is_sound(run: Run) -> None:
    done = run(training={"max_harm_nll": 0.1, "validate_every": 6, "warmup": 0})  # else the first step changes nothing
    assert (done.best_step, done.steps) == (1, 1) and "max_harm_nll" in done.guard[0]["what"]


def test_a_stop_with_nothing_sound_to_keep_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [0.0, 1.0]
    monkeypatch.setattr(watching, "look", lambda _, probes, judge, step, tokens: Look(step, {}, {}, {}, broken.pop(0)))
    with pytest.raises(UserError, match=r"no checkpoint .* \(stopped: harmful answers' NLL .* lower training.lr"):
        run(training={"max_harm_nll": 0.1, "validate_every": 6, "max_broken": 0.5})


def test_without_guards_it_goes_on_to_its_end_and_keeps_that(
    run: Run, vlm: Vlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = costs(monkeypatch, vlm, [1.0, 0.1, 0.9, 0.9])
    done = run(training={"guard": False, "max_harm_nll": 0.1, "max_kl": 0.001})
    assert (done.best_step, done.steps, done.guard) == (6, 6, [])
    now = active(vlm)
    assert all(torch.equal(now[n], adapters[6][n]) for n in now)


@pytest.mark.parametrize(
    "changes",
    [
        {"slots": {"share": 0}, "pictures": {"share": 0.5}},
        {"training": {"full": True, "lr": 1e-3}},
        {"training": {"adversarial": 0.1}},
        {"method": {"name": "rerouting"}},
        {"method": {"name": "dpo"}, "slots": {"share": 0.3}, "pictures": {"share": 0.3}},
    ],
)
def test_every_way_to_train_ends_with_an_adapter_that_loads(
    run: Run, vlm: Vlm, tmp_path: Path, changes: dict[str, dict[str, Any]]
) -> None:
    from textunlearn.vlm.load import merge_adapter

    ids = torch.tensor([vlm.prompt_ids(job_run.TEMPLATES["harmful"].format(thing="door", place="attic"))])
    with torch.no_grad():
        before = vlm.model(input_ids=ids).logits
    done = run(**changes)
    assert done.steps == 6 and done.flops > 0 and done.row_tokens["answers"] > 0
    assert ("words" in done.row_tokens) is bool(changes.get("slots", {"share": 0.5})["share"])
    with torch.no_grad():
        after = vlm.model(input_ids=ids).logits
        merged = merge_adapter(vlm.model.unload(), str(tmp_path / "adapter"))(input_ids=ids).logits
    torch.testing.assert_close(merged, after, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(after, before, atol=1e-3)


def test_pictures_run_the_vision_side_once(run: Run, tmp_path: Path) -> None:
    run(slots={"share": 0}, pictures={"share": 0.5}, training={"steps": 2})
    spent = read_json(tmp_path / "before_training.json")
    assert spent["vision"]["pictures"] > 0 and spent["vision"]["flops"] > 0 and spent["reference"]["flops"] > 0


def test_a_changed_vision_side_is_not_trusted(run: Run, vlm: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    costs(monkeypatch, vlm, [1.0, 0.9, 0.2, 0.5])
    real = watching.Watch.on_train_begin

    def tampering(self: Any, *args: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            next(vlm.base.model.multi_modal_projector.parameters()).add_(1e-3)
        real(self, *args, **kwargs)

    monkeypatch.setattr(watching.Watch, "on_train_begin", tampering)
    with pytest.raises(UserError, match="vision tower or projector changed"):
        run()


tensorboard = pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")


def curves(folder: Path) -> dict[str, dict[int, list[float]]]:
    """Curve -> step -> values, as TensorBoard itself reads the run's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / tracking.FOLDER), size_guidance={"scalars": 0}).Reload()
    out: dict[str, dict[int, list[float]]] = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            out.setdefault(tag, {}).setdefault(event.step, []).append(pytest.approx(event.value, rel=1e-6))
    return out


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text(encoding="utf-8").splitlines()]


@tensorboard
def test_curves_are_files_in_the_run_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("training is not for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    done = run()
    losses = {e["step"]: [e["loss"]] for e in logged(tmp_path) if "loss" in e}
    looks = {e["step"]: [e["validation"]["asr"]] for e in logged(tmp_path) if "validation" in e}
    seen = curves(tmp_path)
    assert len(losses) == done.steps and losses == seen["train/loss"]
    assert 0 in looks and len(looks) > 1 and looks == seen["eval/asr"]
    files = list((tmp_path / tracking.FOLDER).iterdir())
    assert len(files) == 1 and HELPS.encode() not in files[0].read_bytes(), "figures alone"


@tensorboard
def test_a_run_that_was_killed_has_each_step_once(
    run: Run, vlm: Vlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kill(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 3:  # past the checkpoint at 2
                raise KeyboardInterrupt

        def on_log(self, *_: Any, **__: Any) -> None:
            """Trackers have it."""

    training = {"steps": 4, "validate_every": 2, "stop_when_reached": False}
    made = tracking.callbacks
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tracking, "callbacks", lambda *given: [*made(*given), Kill()])
        run(training=training)
    assert sorted(curves(tmp_path)["train/loss"]) == [1, 2, 3]
    vlm.model = vlm.model.unload()  # a new process begins with the model as it was
    run(training=training)
    losses = {e["step"]: [e["loss"]] for e in logged(tmp_path) if "loss" in e}
    assert sorted(losses) == [1, 2, 3, 4] and losses == curves(tmp_path)["train/loss"]


def test_no_tracker_leaves_nothing(run: Run, tmp_path: Path) -> None:
    run(training={"steps": 2, "report_to": []})
    assert not (tmp_path / tracking.FOLDER).exists()
