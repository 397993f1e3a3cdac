"""Which trackers a recipe may name, what is said of one that is missing, and that none phones home by itself."""

from __future__ import annotations

import importlib.util
import os
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from terminal import Terminal
from textunlearn import recipes
from textunlearn.errors import UserError
from textunlearn.training import tracking


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that are installed, as far as `tracking` can see."""
    there: set[str] = set()

    def find(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, None) if name in there else None

    monkeypatch.setattr(tracking, "find_spec", find)
    return there


def test_by_default_what_needs_nothing(only: set[str]) -> None:
    assert tracking.chosen(None) == [] and tracking.chosen([]) == []
    only |= {"tensorboard", "wandb", "mlflow", "trackio"}
    assert tracking.chosen(None) == ["tensorboard"], "nothing that could send anything"
    assert tracking.chosen(["wandb", "tensorboard", "wandb"]) == ["wandb", "tensorboard"]


def test_one_that_is_missing_is_said_before_any_work(only: set[str], terminal: Terminal, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pip install mlflow"):
        tracking.chosen(["mlflow"])
    outcome = terminal("run", "plain", "--set", "training.report_to=[wandb]", "--out", tmp_path / "run")
    outcome.says("training.report_to names wandb", "pip install wandb")
    assert not (tmp_path / "run/recipe.yaml").exists()


def test_names_are_checked_with_the_recipe(terminal: Terminal) -> None:
    terminal("run", "plain", "--set", "training.report_to=[tensorbord]").says("training.report_to", "'tensorboard'")
    terminal("run", "plain", "--set", "training.report_to=wandb").says("training.report_to", "list")
    assert recipes.read("plain", ["training.report_to=[mlflow]"]).training.report_to == ["mlflow"]


def test_no_tracker_phones_home_unless_told_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"WANDB_ERROR_REPORTING": "true"})
    for name in ("MLFLOW_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.pop(name, None)
    assert tracking.callbacks([], tmp_path, "run", 0) == []
    assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ, "nothing is set where nothing is tracked"
    monkeypatch.setitem(tracking._MAKERS, "trackio", lambda place: place)  # type: ignore[arg-type]
    tracking.callbacks(["trackio"], tmp_path, "run", 0)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true" and os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert os.environ["WANDB_ERROR_REPORTING"] == "true", "what the user set is kept"


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_writes_into_the_run_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    import wandb

    (callback,) = tracking.callbacks(["wandb"], tmp_path, "mine", 0)
    try:
        assert wandb.run is not None and wandb.run.offline and wandb.run.project == tracking.PROJECT
        assert Path(wandb.run.dir).is_relative_to(tmp_path)
    finally:
        wandb.finish()
    assert type(callback).__mro__[1].__name__ == "WandbCallback"
