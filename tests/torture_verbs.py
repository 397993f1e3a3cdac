"""The verbs that write, each as a small command whose result is known: on a tiny random model, with mild made-up requests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

import job_run
import tiny

LENGTHS = {"answers/": job_run.ASKED, "data/answers": job_run.KEPT}
"""End of a store's path -> length of its answers in tokens."""


@dataclass(frozen=True)
class Verb:
    """A command in a folder of its own.

    Attributes:
        arguments: of the folder; paths in them stay the same over all starts.
        result: what of the folder is looked at in the end.
        begins: a finished run that it works on, by name of another verb; "" where it begins with nothing.
        refuses: words with which it refuses to do again what is done; "" where it just ends well.
    """

    arguments: Callable[[Path, Inputs], list[str]]
    result: str = "run"
    begins: str = ""
    refuses: str = ""


@dataclass(frozen=True)
class Inputs:
    """What all verbs read: a model's folder, data, recipes."""

    model: Path
    recipe: Path
    comparison: Path


VERBS: dict[str, Verb] = {
    "run": Verb(lambda at, given: ["run", str(given.recipe), "--out", f"{at}/run"]),
    "unlearn": Verb(lambda at, given: ["unlearn", str(given.recipe), "--out", f"{at}/run"]),
    "evaluate": Verb(lambda at, given: ["evaluate", f"{at}/run"], begins="unlearn"),
    "evaluate a model": Verb(
        lambda at, given: (
            ["evaluate", str(given.model), "--out", f"{at}/run", "--judge", "stand_in", "--limit", "4"]
            + [word for name in ("ordinary", "figstep", "prefill") for word in ("--suite", name)]
            + ["--set", f"evaluation.max_new_tokens={job_run.ASKED}", "--set", "evaluation.batch_size=4"]
            + ["--set", "model.device=cpu", "--set", "model.dtype=float32"]
        )
    ),
    "judge": Verb(lambda at, given: ["judge", f"{at}/run"], begins="run"),
    "report": Verb(lambda at, given: ["report", f"{at}/run"], begins="run"),
    "export": Verb(
        lambda at, given: ["export", f"{at}/run", f"{at}/out"], "out", "run", refuses="is not an empty folder"
    ),
    "export --adapter": Verb(
        lambda at, given: ["export", f"{at}/run", f"{at}/out", "--adapter"], "out", "run", "is not an empty folder"
    ),
    "compare": Verb(lambda at, given: ["compare", str(given.comparison), "--out", f"{at}/run", "--jobs", "1"]),
}
"""`quickstart` is `run` with the shipped recipe. `diff`, `gate`, `sample-size`, `chat` and `doctor` write nothing."""


@dataclass
class Bench:
    """Where it all happens.

    Attributes:
        disk: a small file system of its own, or a folder where there is none.
        work: what stands apart: inputs, notes, finished runs to begin with.
    """

    disk: Path
    work: Path
    inputs: Inputs = field(init=False)

    def __post_init__(self) -> None:
        data = self.work / "data"
        model = tiny.clip_vlm(self.work / "model")
        job_run.write_data(data)
        recipe = job_run.recipe(
            model,
            data,
            evaluation={"suites": ["direct_harmbench", "figstep", "ordinary"]},
            training={"report_to": []},
        )
        (self.work / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        base: dict[str, Any] = recipe.model_dump(mode="json")
        base.pop("name")
        base["training"] |= {"steps": 2, "validate_every": 1}
        entries = {
            "bounded": {"title": "Bounded"},
            "npo": {"title": "NPO", "set": {"method": {"name": "npo"}}},
        }
        comparison = {"name": "two", "title": "Two methods", "base": base, "entries": entries}
        (self.work / "comparison.yaml").write_text(yaml.safe_dump(comparison), encoding="utf-8")
        self.inputs = Inputs(model, self.work / "recipe.yaml", self.work / "comparison.yaml")

    @property
    def place(self) -> Path:
        """The folder of whatever runs now: the same each time, for paths stand in results."""
        return self.disk / "place"

    def begin(self, verb: Verb) -> Path:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        if verb.begins:
            shutil.copytree(self.work / "begun" / verb.begins, self.place / "run")
        return self.place

    def keep(self, name: str) -> None:
        """The finished run in `place` is what other verbs begin with."""
        kept = self.work / "begun" / name
        if not kept.exists():
            shutil.copytree(self.place / "run", kept)


def import_all() -> None:
    """Whatever the verbs import, and stand-ins for test sets out of packages and for a judge, before processes are forked."""
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    import matplotlib.pyplot  # noqa: F401
    import torch

    import torture_process
    from textunlearn import cli, job, shell  # noqa: F401
    from textunlearn.comparison import runs
    from textunlearn.methods import METHODS
    from textunlearn.report import comparison, html, model_card  # noqa: F401
    from textunlearn.training import unlearn  # noqa: F401
    from textunlearn.vlm import export, image_features  # noqa: F401

    shell.quiet()
    torch.set_num_threads(1)
    METHODS.names()
    for registry, name, part in job_run.stand_ins():
        registry[name] = part
    named = {name: getattr(subprocess, name) for name in ("DEVNULL", "STDOUT", "TimeoutExpired")}
    runs.subprocess = SimpleNamespace(Popen=torture_process.Forked, **named)  # type: ignore[assignment]
