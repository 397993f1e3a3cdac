"""Ways to train that do not go together, said when a recipe is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from textunlearn.recipe import Recipe


def check(recipe: Recipe, where: str) -> None:
    """UserError for the first pair of settings that cannot work; ``where``: the recipe's file, for the message."""
    t = recipe.training
    if t.full and t.interpolate:
        raise UserError(
            f"{where}: training.interpolate scales a LoRA adapter, and training.full trains none; set one of them back"
        )
    if t.lora_kind == "dora" and t.interpolate:
        raise UserError(
            f"{where}: training.interpolate scales an adapter by one factor, which DoRA's lengths do not follow; leave one out"
        )
    if recipe.model.quantize is None:
        return
    refused = {
        "training.full trains": t.full,
        "model.adapter merges into": recipe.model.adapter is not None,
        "evaluation.shallowness fine-tunes": recipe.evaluation.shallowness,
    }
    for what, wanted in refused.items():
        if wanted:
            raise UserError(f"{where}: {what} the weights, which model.quantize holds in four bits; leave one out")
