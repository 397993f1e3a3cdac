"""What the processes of test_processes.py do: functions that a new Python can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import typer

import job_run
from textunlearn import processes
from textunlearn.cli.shared import job_of
from textunlearn.errors import UserError
from textunlearn.recipe import Recipe
from textunlearn.training import worker
from textunlearn.training.watch import Watch


def train(folder: str, sharded: bool) -> None:
    """`worker.work` with the stand-ins of the tests."""
    for registry, name, part in job_run.stand_ins():
        registry[name] = part
    worker.work(folder, sharded)


def train_and_be_killed(folder: str, sharded: bool) -> None:
    """The second process dies as if by the system when the third step begins to be looked at."""
    kept = Watch.on_step_end

    def on_step_end(self: Watch, args: object, state: object, control: object, **kwargs: object) -> None:
        if state.global_step == 3 and not processes.first():  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)
        kept(self, args, state, control, **kwargs)  # type: ignore[arg-type]

    Watch.on_step_end = on_step_end  # type: ignore[method-assign, assignment]
    train(folder, sharded)


def launched(folder: str, recipe: str) -> None:
    """What `textunlearn run` does in each of the processes that a launcher started."""
    for registry, name, part in job_run.stand_ins():
        registry[name] = part
    try:
        job = job_of(Recipe.read(Path(recipe)), Path(folder), job_run.quiet())
    except typer.Exit:
        return
    assert processes.first(), "another one works on the run"
    job.run()


def talk(folder: str) -> None:
    """Each writes down what it heard."""
    processes.join("cpu")
    number = processes.rank()
    heard = {
        "first": processes.from_first(lambda: f"from {number}"),
        "all": processes.gathered(number),
        "total": processes.total({"both": number + 1.0} | ({"one": 5.0} if number else {})),
        "joined": processes.joined([10 * value for value in processes.share([1, 2, 3, 4, 5])]),
    }
    (Path(folder) / str(number)).write_text(repr(heard), encoding="utf-8")
    processes.leave()


def complain(folder: str) -> None:
    """The first one has a sentence for the user."""
    processes.join("cpu")

    def fail() -> None:
        raise UserError("there is no flour: buy some")

    processes.from_first(fail)


def wait(folder: str) -> None:
    """Says that it is there, and stays."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(300)
