"""What there is to choose from, as tables for the terminal: each says its name in a recipe."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def recipes() -> Table:
    from textunlearn import recipes

    rows = [(name, "run", recipes.about(name)) for name in recipes.names()]
    rows += [(name, "compare", recipes.about(name)) for name in recipes.comparisons()]
    return _table("Recipes (textunlearn run RECIPE, textunlearn compare RECIPE)", ("name", "verb", "what for"), rows)


def methods() -> Table:
    from textunlearn.methods import METHODS

    parts = [(name, METHODS.get(name)) for name in METHODS.names()]
    rows = [(name, _about(part), ", ".join(getattr(part, "model_fields", {}))) for name, part in parts]
    return _table("Methods (recipe: method.name, method.settings)", ("name", "what it does", "settings"), rows)


def attacks() -> Table:
    from textunlearn.attacks import ATTACKS

    rows = [(name, _about(ATTACKS.get(name)), _settings(name)) for name in ATTACKS.names()]
    title = "Attacks (a suite's attack: name, name(key=value, ...), or several joined by |)"
    return _table(title, ("name", "what the model is shown", "settings, with their defaults"), rows)


def _settings(attack: str) -> str:
    """One line a setting: its default (none where it changes nothing), or that it is needed, and what it means."""
    from textunlearn.attacks.grammar import settings_of

    lines = []
    for name, field in settings_of(attack).model_fields.items():
        value = field.default
        plain = not isinstance(value, str) or re.fullmatch(r"[^\s\"'(),=|]+", value)
        default = f"={value if plain else repr(value)}"
        known = " (needed)" if field.is_required() else "" if value is None else default
        lines.append(f"{name}{known}" + (f": {field.description}" if field.description else ""))
    return "\n".join(lines)


def attack(expression: str, text: str, out: Path | None) -> str:
    """What a model would be shown of the harmless request ``text``: typed words, beginning of the answer, pictures.

    ``out``: where a picture is written, a second one beside it with ``-2`` in its name. UserError as `resolve` and the attack give.
    """
    from textunlearn.attacks.grammar import resolve
    from textunlearn.files import atomic
    from textunlearn.records import Prompt

    shown = resolve(expression)(Prompt(text, "ordinary", "shell"))
    lines = ["typed: " + (shown.text or "(nothing)")]
    if shown.prefill:
        lines.append(f"answer begun with: {shown.prefill}")
    for number, image in enumerate(shown.images, start=1):
        line = f"picture {number}: {image.width} x {image.height} pixels"
        if out is not None:
            path = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
            with atomic(path.with_suffix(".png")) as temporary:
                image.save(temporary, format="PNG")
            line += f", written to {path.with_suffix('.png')}"
        lines.append(line)
    if len(shown.images) > 1:
        lines.append("Several pictures in a turn: for models that take them.")
    if shown.images and out is None:
        lines.append("--out FILE writes what the model would see.")
    return "\n".join(lines)


def suites() -> Table:
    from textunlearn.evaluation.suites import SUITES, sets_of

    rows = [(s.name, s.title, s.source, s.attack, str(s.limit), ", ".join(sets_of(s))) for s in SUITES.values()]
    columns = ("name", "what is tested", "source", "attack", "cases at most", "in the sets")
    return _table("Suites (recipe: evaluation.suites, a set or a list of names)", columns, rows)


def judges() -> Table:
    from textunlearn.judges import JUDGES

    rows = [(name, _about(JUDGES.get(name))) for name in JUDGES.names()]
    return _table("Judges (recipe: evaluation.judge)", ("name", "how it judges"), rows)


def datasets() -> Table:
    from textunlearn.data.sources import SOURCES, source_info

    infos = [(name, source_info(name)) for name in SOURCES.names()]
    rows = [(n, i.about, str(i.rows or ""), i.licence, "training" if i.trainable else "tests only") for n, i in infos]
    columns = ("name", "what it holds", "rows", "licence", "for")
    return _table("Data sources (recipe: data.harmful, data.lookalike, data.ordinary)", columns, rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold", style="cyan" if number == 0 else "")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _about(part: Any) -> str:
    """First paragraph of what a registered part says of itself, or else of its module."""
    own = inspect.cleandoc(part.__doc__ or "")
    text = own if own and not own.startswith("See ") else inspect.cleandoc(sys.modules[part.__module__].__doc__ or "")
    return " ".join(text.split("\n\n")[0].split())
