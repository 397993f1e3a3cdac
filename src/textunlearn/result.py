"""What a run folder holds for those who come after: its recipe, its adapter, its model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textunlearn.errors import UserError
from textunlearn.recipe import Recipe

if TYPE_CHECKING:
    from textunlearn.vlm.load import Vlm


def stored_recipe(run: Path) -> Recipe:
    """The recipe that a run folder was made with. UserError if ``run`` is no run folder."""
    if not (run / "recipe.yaml").is_file():
        raise UserError(f"{run} is not a run folder: it holds no recipe.yaml; `textunlearn run` makes one")
    return Recipe.read(run / "recipe.yaml")


def adapter_of(run: Path) -> Path:
    """The run's adapter folder. UserError if there is none yet."""
    adapter = run / "adapter"
    if not (adapter / "adapter_config.json").is_file():
        raise UserError(f"{run} holds no adapter yet; give the command that began the run again, and it goes on")
    return adapter


def require_trained(run: Path) -> None:
    """UserError unless the run's training is done."""
    if not (run / "trained.json").is_file():
        raise UserError(f"the training in {run} is not done; give the command that began it again, and it goes on")


def require_evaluated(run: Path) -> None:
    """UserError unless both models' answers are there (``utility.json`` is not: suites without ordinary requests have none)."""
    for name in ("cases.jsonl", "answers/before.jsonl", "answers/after.jsonl"):
        if not (run / name).is_file():
            raise UserError(f"{run} is not evaluated yet ({name} is missing); `textunlearn evaluate {run}` does that")


def load_result(run: Path, *, before: bool = False) -> Vlm:
    """The run's model with its adapter merged in; ``before``: as it was. UserError if there is no adapter yet."""
    from textunlearn.vlm.load import load, merge_adapter

    spec = stored_recipe(run).model
    adapter = None if before else adapter_of(run)
    vlm = load(spec)
    if adapter is not None:
        vlm.model = merge_adapter(vlm.base, str(adapter)).eval().requires_grad_(False)
    return vlm


def load_both(run: Path) -> Vlm:
    """The run's model with its adapter on it, not merged, so that it can answer with and without. UserError if there is none yet."""
    from textunlearn.vlm.load import attach_adapter, load

    adapter = adapter_of(run)
    vlm = load(stored_recipe(run).model)
    vlm.model = attach_adapter(vlm.base, str(adapter)).eval().requires_grad_(False)
    return vlm
