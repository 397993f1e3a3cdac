"""Training rows to plan with: of the lengths that a run's rows have, without its data and without the model's answers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textunlearn.comparison.geometry import ASSUMED
from textunlearn.errors import UserError
from textunlearn.methods import Method
from textunlearn.recipe import Recipe
from textunlearn.records import KINDS, Prompt
from textunlearn.training.rows import Row, Target
from textunlearn.vlm.model import Vlm, decoder_path

SOME = 48
"""Prompts a kind that are laid out; the run's own are drawn from many more, of like lengths."""


class Wordless(Vlm):
    """A model whose tokenizer is not here: it is only ever shown numbers."""

    def prompt_ids(self, text: str) -> list[int]:
        return [0] * 8

    @property
    def blank_id(self) -> int:  # type: ignore[override]
        return 0


def opened(model: Any, name: str, where: str, config: Any, **options: Any) -> tuple[Vlm, str]:
    """``model`` (on meta) with its processor, and what was assumed: nothing, or why its processor could not be had."""
    from textunlearn.vlm.load import wrap
    from textunlearn.vlm.processor import load_processor

    try:
        return wrap(model, load_processor(where, config, **options), name), ""
    except Exception as error:  # of every kind, from five libraries, as in `vlm.load.load`
        why = " ".join(str(error).split())[:120]
    path = decoder_path(model)
    if not path or model.get_output_embeddings() is None:
        raise UserError(f"{name} ({type(model).__name__}) has no language model part that textunlearn can find")
    return Wordless(name, model, None, path), f"its processor could not be had ({why}), so lengths of rows are assumed"


def stand_in_rows(vlm: Vlm, recipe: Recipe, method: Method) -> dict[str, list[Row]]:
    """kind -> rows: the authored prompts laid out as the recipe says, each with answers as long as it allows. Harmless prompts that look
    like harm stand for the harmful ones."""
    if isinstance(vlm, Wordless):
        return _assumed(vlm, recipe, method)
    from textunlearn.training.build_rows import training_rows

    prompts: dict[str, list[Prompt]] = {}
    answers: dict[str, str] = {}
    for kind in KINDS:
        some = _authored("ordinary" if kind == "ordinary" else "lookalikes", kind)
        prompts[kind] = some
        text = " ".join(prompt.text for prompt in some)
        answers |= {prompt.id: text for prompt in some}
    return training_rows(vlm, prompts, answers, method, recipe.slots, recipe.data, recipe.seed, recipe.pictures)


def _authored(name: str, kind: Any) -> list[Prompt]:
    from textunlearn import data
    from textunlearn.data.authored_file import read_authored

    found = read_authored(Path(data.__file__).parent / f"authored/{name}.jsonl", kind, "plan")
    return found[:: max(1, len(found) // SOME)][:SOME]


def _assumed(vlm: Vlm, recipe: Recipe, method: Method) -> dict[str, list[Row]]:
    """Rows of mean lengths, half as long to half longer."""
    rng, data = random.Random(recipe.seed), recipe.data
    out: dict[str, list[Row]] = {}
    image = image_tokens(vlm.base.config)
    pictured = recipe.slots.share + recipe.pictures.share if image else 0.0
    roles: Mapping[str, dict[str, int]] = {
        "harmful": {"harmful": data.answer_tokens, "safe": 24},
        "lookalike": {"benign": data.kept_tokens},
        "ordinary": {"benign": data.kept_tokens},
    }
    for kind in KINDS:
        rows = []
        for number in range(SOME):
            slots = image if (number + 1) / SOME <= pictured else 0
            if slots and rng.random() < recipe.slots.fewer_blanks:
                slots = rng.randint(min(round(ASSUMED.words), image), image)
            length = round((ASSUMED.beside if slots else ASSUMED.typed) * rng.uniform(0.5, 1.5)) + slots
            prompt = (number + 1, *(rng.randrange(1, 100) for _ in range(length)))
            targets = [Target(role, (1,) * n) for role, n in roles[kind].items() if role in method.roles]  # type: ignore[arg-type]
            if targets:
                rows.append(Row(kind, prompt, tuple(targets), tuple(range(1, 1 + slots))))
        rng.shuffle(rows)
        out[kind] = rows
    return out


def image_tokens(config: Any) -> int:
    """Image tokens of a small picture, as far as a config says them; 0 for a model without pictures."""
    vision = getattr(config, "vision_config", None)
    if vision is None:
        return 0
    for name in ("mm_tokens_per_image", "image_seq_length"):
        if isinstance(value := getattr(config, name, None), int):
            # Tiles of its own beside the whole picture: LLaVA-NeXT shows a small one on two, of which one is padding.
            return 2 * value if getattr(config, "image_grid_pinpoints", None) else value
    side, patch, scale = (
        getattr(at, name, None)
        for at, name in ((vision, "image_size"), (vision, "patch_size"), (config, "scale_factor"))
    )
    if isinstance(side, int) and isinstance(patch, int) and patch:
        one = (side // patch // (scale or 1)) ** 2
        return 17 * one if scale else one  # Idefics 3 and SmolVLM enlarge a picture to 4 x 4 tiles and the whole
    return 64  # Qwen-VL: 224 pixels
