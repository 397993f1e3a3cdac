"""Several runs, each a process of its own: what the original model said is generated once, a finished run is left alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from textunlearn import shell
from textunlearn.errors import UserError
from textunlearn.evaluation import benchmarks, further
from textunlearn.files import atomic, read_json, write_json, write_text
from textunlearn.job import BEFORE
from textunlearn.recipe import Recipe

COMMAND = (sys.executable, "-m", "textunlearn", "run")
OF_THE_ORIGINAL = (
    f"answers/{BEFORE}.jsonl",
    "data/answers.jsonl",
    "utility_reference.safetensors",
    f"{further.FOLDER}/short_answers_{BEFORE}.jsonl",
    f"{further.FOLDER}/relearning_{BEFORE}.json",
    "model.json",  # so that a run whose model has changed since is refused
)
"""What a run can take over from another, since it is filed by what was asked and no training changes it."""
BEFORE_TRAINING = ("reference.safetensors", "features.safetensors")
"""What training computes of the original model for its rows, once; taken over from a run that has the same rows."""
ROWS = ("seed", "data", "slots", "pictures")
"""Parts of a recipe that decide its training rows."""
BY_MODEL = (further.NAME, "utility.json")
"""Files that hold a part a model, of which the original's can be taken over."""
PAUSE, PATIENCE = 0.2, 30.0
"""Seconds between two looks at the processes, and until a process that was asked to stop is made to."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run: its folder and what is to be done there."""

    folder: Path
    recipe: Recipe

    @property
    def done(self) -> bool:
        return all((self.folder / name).exists() for name in ("report.html", "metrics.json"))

    @property
    def log(self) -> Path:
        """What the run's process says."""
        return Path(f"{self.folder}.log")

    @property
    def has_original(self) -> bool:
        """Whether all that can be taken over from this run is there (but what training begins with)."""
        spec, measured = self.recipe.evaluation, _part(self.folder / further.NAME)
        return (
            any(self.folder.glob(f"verdicts/{BEFORE}.*.jsonl"))
            and ("knowledge" in measured or not spec.knowledge)
            and ("relearning" in measured.get("shallowness", {}) or not spec.shallowness)
        )

    @property
    def costs(self) -> dict[str, Any]:
        """What its steps have cost so far."""
        path = self.folder / "cost.json"
        return read_json(path) if path.exists() else {}

    @property
    def seconds(self) -> float:
        """What a finished run took, without what others take over from it; 0 where that is not known."""
        apart = ("sample", "reference", "vision")  # the first is taken over, the others are part of training
        return sum(cost["seconds"] for step, cost in self.costs.items() if step not in apart and BEFORE not in step)


@dataclass(frozen=True)
class Failure:
    """A run that did not end well: its process's exit code, and the sentence it left."""

    run: Run
    code: int
    sentence: str


def exit_code(failures: Sequence[Failure]) -> int:
    """What a command ends with after these: something the user can mend, or a fault."""
    return shell.USER if all(failure.code == shell.USER for failure in failures) else shell.FAULT


def require_same(runs: Sequence[Run]) -> None:
    """UserError where a run's folder holds a run of another recipe; before any work is done."""
    for run in runs:
        kept = run.folder / "recipe.yaml"
        if kept.exists() and Recipe.read(kept) != run.recipe:
            raise UserError(
                f"{run.folder} holds a run of another recipe; choose another --out, or remove that folder to make it anew"
            )


def run_all(runs: Sequence[Run], jobs: int, console: Console, original: Sequence[Run] = ()) -> list[Failure]:
    """Make every run that is not done, ``jobs`` at a time, and return those that failed; they do not stop the others.

    The first goes alone until the original model has answered; the others take its answers over, as from ``original``,
    further runs that are only read. Ctrl-C and SIGTERM stop the processes too; each run goes on by itself the next time.
    """
    waiting = [run for run in runs if not run.done]
    sources = [*original, *runs]
    running: dict[Run, tuple[subprocess.Popen[bytes], float]] = {}
    failures: list[Failure] = []
    with _board(console, runs) as board:
        try:
            while waiting or running:
                while waiting and len(running) < jobs and (not running or any(run.has_original for run in sources)):
                    run = waiting.pop(0)
                    take_over(sources, run)
                    _say(console, f"{run.folder} begins; its progress goes to {run.log}")
                    running[run] = (_start(run, jobs), time.monotonic())
                time.sleep(PAUSE)
                for run, (process, began) in list(running.items()):
                    code = process.poll()
                    if code is None:
                        continue
                    del running[run]
                    board.times.append(time.monotonic() - began)
                    if code:
                        failures.append(Failure(run, code, last_words(run.log)))
                    said = "is done" if not code else f"failed: {failures[-1].sentence}"
                    _say(console, f"{run.folder} {said}")
                board.show(len(waiting), [began for _, began in running.values()], len(failures), jobs)
        except BaseException:
            _stop([process for process, _ in running.values()])
            raise
    return failures


def _say(console: Console, sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _start(run: Run, jobs: int) -> subprocess.Popen[bytes]:
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    kept = run.folder / "recipe.yaml"
    if not kept.exists():
        write_text(kept, run.recipe.to_yaml())
    with run.log.open("wb") as log:
        return subprocess.Popen(
            [*COMMAND, str(kept), "--out", str(run.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "OMP_NUM_THREADS": threads,
                "MKL_NUM_THREADS": threads,
                shell.PARENT: str(os.getpid()),
            },
        )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask all, wait, then insist."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    try:
        for process in processes:
            process.wait(max(0.1, deadline - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt, shell.Terminated):
        for process in processes:
            process.kill()


def last_words(log: Path) -> str:
    """The sentence that a failed process left: what it said as an error, or else its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix(shell.ERROR) for line in lines if line.startswith(shell.ERROR)]
    return (said or lines or ["it said nothing"])[-1]


def take_over(sources: Sequence[Run], run: Run) -> None:
    """Copy what the original model said from the likeliest of ``sources`` that have it all; nothing that is there is replaced."""
    recipe = run.recipe
    ready = [
        other
        for other in sources
        if other.folder != run.folder
        and other.recipe.model == recipe.model
        and other.recipe.evaluation.max_new_tokens == recipe.evaluation.max_new_tokens
        and other.has_original
    ]
    ready.sort(key=lambda other: [getattr(other.recipe, part) == getattr(recipe, part) for part in ROWS], reverse=True)
    for file in OF_THE_ORIGINAL:
        target = run.folder / file
        for other in ready:
            if target.exists():
                break
            # the training prompts' answers are as long as their own recipe wants them
            lengths_differ = any(
                getattr(other.recipe.data, key) != getattr(recipe.data, key) for key in ("answer_tokens", "kept_tokens")
            )
            if (other.folder / file).exists() and not (file.startswith("data/") and lengths_differ):
                with atomic(target) as temporary:
                    shutil.copyfile(other.folder / file, temporary)
    same = [o for o in ready if all(getattr(o.recipe, part) == getattr(recipe, part) for part in ROWS)]
    for file in BEFORE_TRAINING:
        # the largest knows the states of most roles and layers; what it lacks is computed
        sizes = [(path.stat().st_size, path) for other in same if (path := other.folder / file).exists()]
        if sizes and not (run.folder / file).exists():
            with atomic(run.folder / file) as temporary:
                shutil.copyfile(max(sizes)[1], temporary)
    alike = [other for other in ready if other.recipe.evaluation == recipe.evaluation]  # measured on the same cases
    for file in BY_MODEL:
        target = run.folder / file
        measured = next(filter(None, (_part(other.folder / file) for other in alike)), None)
        if measured and not target.exists():
            write_json(target, {BEFORE: measured})
    for other in alike:
        for source in sorted((other.folder / benchmarks.FOLDER / BEFORE).glob("*.jsonl")):
            target = benchmarks.store_file(run.folder, BEFORE, source.stem)
            if not target.exists():
                with atomic(target) as temporary:
                    shutil.copyfile(source, temporary)


def _part(path: Path) -> dict[str, Any]:
    """The original model's part of a file that has one a model."""
    return read_json(path).get(BEFORE, {}) if path.exists() else {}


# -- the live line ----------------------------------------------------------------------------------------------------


@dataclass
class _Board:
    progress: object
    task: object
    total: int
    times: list[float]
    """Seconds of finished runs, of this sitting and earlier ones."""

    def show(self, waiting: int, began: Sequence[float], failed: int, jobs: int) -> None:
        done = self.total - waiting - len(began)
        left = time_left(self.times, waiting, [time.monotonic() - start for start in began], jobs)
        words = [f"{len(began)} running, {waiting} waiting"] if began or waiting else []
        words += [f"{failed} failed"] if failed else []
        if began or waiting:
            words.append(f"about {_spell(left)} left" if left is not None else "time left not known yet")
        self.progress.update(self.task, completed=done, left=", ".join(words))  # type: ignore[attr-defined]


def time_left(times: Sequence[float], waiting: int, running: Sequence[float], jobs: int) -> float | None:
    """Seconds until all is done, if a run takes the mean of ``times``; None before the first is done.

    Args:
        running: seconds that each run in progress has taken so far.
    """
    if not times:
        return None
    mean = sum(times) / len(times)
    return (waiting * mean + sum(max(0.0, mean - spent) for spent in running)) / jobs


def _spell(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


@contextlib.contextmanager
def _board(console: Console, runs: Sequence[Run]) -> Iterator[_Board]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("runs"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    done = [run for run in runs if run.done]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("runs", total=len(runs), completed=len(done), left="")
        yield _Board(progress, task, len(runs), [run.seconds for run in done if run.seconds])
