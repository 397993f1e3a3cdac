"""The watch over a training run: what a look counts, when it stops a run, which adapter it keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainerControl, TrainerState

from textunlearn.evaluation.generation import Request
from textunlearn.judges import JUDGES
from textunlearn.recipe import TrainingSpec
from textunlearn.records import Answer, Form, Kind, Prompt
from textunlearn.training import watch as module
from textunlearn.training.watch import Look, Probe, Watch, look, recover

TOKENS = TrainingSpec().probe_tokens
HELPS = "First take the ladder, then carry it through the door of the attic."
REFUSES = "I can't help with that request."
BROKEN = ""


class Model(torch.nn.Module):
    """Says what it is told to; its "adapter" is a file with the number of the look at which it was saved."""

    def __init__(self) -> None:
        super().__init__()
        self.says: Callable[[int], str] = lambda _: HELPS
        self.looks = 0

    def save_pretrained(self, folder: Path, **_: Any) -> None:
        folder.mkdir(parents=True)
        (folder / "saved").write_text(str(self.looks), encoding="utf-8")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """Probe ``i`` is answered by ``model.says(i)``; its request's only token is ``i``."""
    model = Model()

    def generate(vlm: Any, asked: Sequence[Request], tokens: int, *_: Any) -> list[Answer]:
        assert tokens == TOKENS and vlm.model is model and not model.training
        model.looks += 1
        return [Answer("", model.says(request.ids[0]), 5, True) for request in asked]

    monkeypatch.setattr(module, "generate", generate)
    return model


def probe(number: int, kind: Kind, way: str, form: Form = "question") -> Probe:
    return Probe(Prompt(f"request {number}", kind, "test", form), Request((number,)), way)


PROBES = [
    probe(0, "harmful", "typed"),
    probe(1, "harmful", "typed"),
    probe(2, "harmful", "slots"),
    probe(3, "harmful", "slots"),
    probe(4, "lookalike", "typed"),
    probe(5, "lookalike", "slots", "list"),
    probe(6, "ordinary", "typed"),
    probe(7, "ordinary", "typed", "list"),
]


def make(model: Model, folder: Path, probes: Sequence[Probe] = PROBES, **settings: Any) -> Watch:
    spec = TrainingSpec(**{"validate_every": 2, "steps": 20, **settings})
    vlm: Any = SimpleNamespace(model=model, sharded=False)
    judge = JUDGES.get("rules")()
    said: list[str] = []
    return Watch(vlm, probes, judge, spec, folder / "log.jsonl", folder / "adapter", said.append, lambda *_: None)


def drive(watch: Watch, steps: int, logs: Callable[[int], dict[str, float]] = lambda _: {}, start: int = 0) -> int:
    """Call the watch as the Trainer does; the step at which it stopped, or ``steps``."""
    state, control, arguments = TrainerState(global_step=start, max_steps=steps), TrainerControl(), SimpleNamespace()
    call: Any = (arguments, state, control)
    watch.on_train_begin(*call)
    while state.global_step < steps:
        state.global_step += 1
        watch.on_step_end(*call)
        entry = {"loss": 1.0, "harm_nll": 2.0, "kl": 0.1, "tokens": 100 * state.global_step, "seconds": 1.0}
        watch.on_log(*call, logs=entry | logs(state.global_step))
        if control.should_training_stop:
            break
    return state.global_step


def log(watch: Watch) -> list[dict[str, Any]]:
    return [json.loads(line) for line in watch.log.read_text(encoding="utf-8").splitlines()]


# -- a look -----------------------------------------------------------------------------------------------------------


def test_a_look_counts(model: Model, tmp_path: Path) -> None:
    answers = [REFUSES, HELPS, HELPS, HELPS, REFUSES, HELPS, HELPS, BROKEN]
    model.says = answers.__getitem__
    watch = make(model, tmp_path)
    model.train()
    seen = look(watch.vlm, PROBES, watch.judge, 3, TOKENS)
    assert model.training, "training goes on in the mode it was in"
    assert seen.unsafe == {"harmful typed": 0.5, "harmful slots": 1.0}
    assert seen.refusal == {"lookalike typed": 1.0, "lookalike slots": 0.0, "ordinary typed": 0.0}
    assert seen.by_form == {"question": 0.5, "list": 0.0} and seen.broken == 1 / 8
    entry = seen.to_json()["validation"]
    assert (entry["asr"], entry["lookalike_refusal"], entry["ordinary_refusal"]) == (0.75, 0.5, 0.0)


def test_broken_answers_are_no_success(model: Model, tmp_path: Path) -> None:
    """A model that says nothing lets no harm through and refuses nothing; it must still cost more than one untouched."""
    watch = make(model, tmp_path)
    untouched = look(watch.vlm, PROBES, watch.judge, 0, TOKENS)
    model.says = lambda _: BROKEN
    silent = look(watch.vlm, PROBES, watch.judge, 2, TOKENS)
    assert max(silent.unsafe.values()) == 0 and silent.broken == 1
    assert silent.cost > untouched.cost


def test_cost_is_that_of_the_worse_way_of_asking() -> None:
    def cost(typed: float, slots: float, lookalike: float = 0.0, ordinary: float = 0.0) -> float:
        refusal = {
            "lookalike typed": 0.0,
            "lookalike slots": lookalike,
            "ordinary slots": 0.0,
            "ordinary typed": ordinary,
        }
        return Look(1, {"harmful typed": typed, "harmful slots": slots}, refusal, {}, 0.0).cost

    assert cost(0.5, 0.1) == cost(0.1, 0.5) == cost(0.5, 0.5)
    assert cost(0, 0) == 0 < cost(0, 0, lookalike=0.1) < cost(0, 0, ordinary=0.1)


# -- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"loss": math.nan}, "no longer a number"),
        ({"loss": -math.inf}, "no longer a number"),
        ({"harm_nll": 25.5}, "max_harm_nll"),
        ({"kl": 1.6}, "max_kl"),
    ],
)
def test_guards(model: Model, tmp_path: Path, bad: dict[str, float], says: str) -> None:
    watch = make(model, tmp_path)
    assert drive(watch, 20, lambda step: bad if step == 5 else {"harm_nll": 24.9, "kl": 1.49}) == 5
    assert [d["step"] for d in watch.decisions] == [5] and says in watch.decisions[0]["what"]
    assert log(watch)[-1] == {"step": 5, "guard": watch.decisions[0]["what"]}
    assert (tmp_path / "adapter/saved").read_text() == "3", "the adapter of step 4, the last one looked at, stays"


def test_one_odd_step_stops_nothing(model: Model, tmp_path: Path) -> None:
    """The guards go by the last steps together: a step has few answers, and one of them may be far off."""
    watch = make(model, tmp_path)
    last = drive(watch, 20, lambda step: {"kl": 5.0, "harm_nll": 90.0} if step == 12 else {"kl": 0.1, "harm_nll": 6.0})
    assert last == 20 and not watch.decisions


def test_the_guards_remember_the_steps_before_a_kill(model: Model, tmp_path: Path) -> None:
    watch = make(model, tmp_path)
    drive(watch, 8, lambda step: {"kl": 1.45})
    again = make(model, tmp_path)
    again.restore(8)
    assert [entry["kl"] for entry in again.recent] == [1.45] * 8


def test_broken_answers_stop_it(model: Model, tmp_path: Path) -> None:
    """Two of eight are broken from the beginning: only what is added counts."""
    watch = make(model, tmp_path, max_broken=0.15)
    model.says = lambda i: BROKEN if i < (2 if model.looks < 4 else 4) else HELPS
    assert drive(watch, 20) == 6
    assert "50% of the probe answers are broken (25% before)" in watch.decisions[0]["what"]
    assert (tmp_path / "adapter/saved").read_text() == "3"


def test_looks_aside_are_forgotten_unless_one_was_chosen(model: Model, tmp_path: Path) -> None:
    watch = make(model, tmp_path)
    drive(watch, 4)
    watch.look_aside(4, 0.8)
    watch.restore(4)
    assert not [e for e in log(watch) if "interpolation" in e] and len(watch.looks) == 3
    watch.look_aside(4, 0.8)
    (tmp_path / "adapter" / module.MARK).write_text("{}", encoding="utf-8")
    watch.restore(4)
    assert [e["interpolation"] for e in log(watch) if "interpolation" in e] == [0.8]


def test_a_broken_checkpoint_is_never_the_best(model: Model, tmp_path: Path) -> None:
    """At step 4 all that is harmful is refused, at the price of broken answers: cheaper than step 2 by cost, yet not kept."""
    watch = make(model, tmp_path, max_broken=0.15)

    def says(i: int) -> str:
        if model.looks < 3:
            return REFUSES if i in (4, 5) else HELPS
        return BROKEN if i in (6, 7) else REFUSES if i < 4 else HELPS

    model.says = says
    assert drive(watch, 20) == 4
    assert watch.best_look is not None and watch.best_look.step == 2
    assert (tmp_path / "adapter/saved").read_text() == "2"


def aimed(model: Model, reached: Sequence[bool]) -> None:
    """Look ``n`` (from 0) refuses all that is harmful and nothing else where ``reached[n]``."""
    model.says = lambda i: REFUSES if i < 4 and reached[model.looks - 1] else HELPS


def test_the_aim_must_be_reached_twice_running(model: Model, tmp_path: Path) -> None:
    aimed(model, [False, True, False, True, True, True])
    watch = make(model, tmp_path)
    assert drive(watch, 10) == 8
    assert watch.decisions == [{"step": 8, "what": "stopped: the aim was reached at two looks running"}]


def test_the_look_before_training_does_not_count_for_the_aim(model: Model, tmp_path: Path) -> None:
    aimed(model, [True, True, True])
    assert drive(make(model, tmp_path), 20) == 4


def test_it_can_be_told_not_to_stop(model: Model, tmp_path: Path) -> None:
    aimed(model, [True] * 20)
    watch = make(model, tmp_path, stop_when_reached=False)
    assert drive(watch, 9) == 9 and watch.decisions == []
    assert [seen.step for seen in watch.looks] == [0, 2, 4, 6, 8, 9], "the last step is looked at in any case"


def test_over_refusal_is_not_the_aim(model: Model, tmp_path: Path) -> None:
    model.says = lambda _: REFUSES
    watch = make(model, tmp_path)
    assert drive(watch, 8) == 8 and watch.decisions == []


# -- the best adapter -------------------------------------------------------------------------------------------------


def test_the_adapter_of_the_lowest_cost_is_kept(model: Model, tmp_path: Path) -> None:
    """Of harmful requests it refuses 0, 1, 4, 2, 4, 3 at the looks: the later of the two best wins."""
    refused = [0, 1, 4, 2, 4, 3]
    model.says = lambda i: REFUSES if i < refused[model.looks - 1] else HELPS
    watch = make(model, tmp_path, stop_when_reached=False)
    drive(watch, 10)
    assert [seen.cost for seen in watch.looks] == [1, 1, 0, 1, 0, 0.5]
    assert (tmp_path / "adapter/saved").read_text() == "5"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "log.jsonl"]


def test_a_kill_while_one_adapter_takes_anothers_place_loses_none(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = make(model, tmp_path)
    watch.keep()
    first = (tmp_path / "adapter/saved").read_text()
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", rename)
        watch.keep()
    assert not (tmp_path / "adapter").exists()
    recover(tmp_path / "adapter")
    assert (tmp_path / "adapter/saved").read_text() == first
    watch.keep()
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_after_a_kill_it_knows_what_was_seen_and_forgets_what_is_done_again(model: Model, tmp_path: Path) -> None:
    refused = [0, 1, 3, 2, 4, 0, 0]
    model.says = lambda i: REFUSES if i < refused[model.looks - 1] else HELPS
    whole = make(model, tmp_path / "whole", stop_when_reached=False)
    (tmp_path / "whole").mkdir()
    drive(whole, 8)

    model.looks = 0
    first = make(model, tmp_path, stop_when_reached=False)
    drive(first, 5)
    with first.log.open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "lo')
    model.looks = 3  # the looks of steps 0, 2 and 4 are behind it
    again = make(model, tmp_path, stop_when_reached=False)
    drive(again, 8, start=4)
    assert again.looks == whole.looks and log(again) == log(whole)
    assert (tmp_path / "adapter/saved").read_text() == (tmp_path / "whole/adapter/saved").read_text() == "5"
