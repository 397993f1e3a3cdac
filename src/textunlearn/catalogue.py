"""What there is to choose from, as tables for the terminal: each says its name in a recipe."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    from rich.table import Table

    from textunlearn.data.questions import QuestionSet
    from textunlearn.data.sources import Source, SourceInfo


@dataclass(frozen=True)
class Listing:
    """What there is of one kind: ``items`` for machines, each with its ``name``; ``table`` for people."""

    items: list[dict[str, Any]]
    table: Table


def recipes() -> Listing:
    from textunlearn import recipes

    verbs = {"run": recipes.names(), "compare": recipes.comparisons()}
    items = [
        {"name": name, "verb": verb, "about": recipes.about(name)} for verb, names in verbs.items() for name in names
    ]
    title = "Recipes (textunlearn run RECIPE, textunlearn compare RECIPE)"
    return Listing(items, as_table(title, ("name", "verb", "what for"), [tuple(one.values()) for one in items]))


def methods() -> Listing:
    from textunlearn.methods import METHODS

    items: list[dict[str, Any]] = [
        {"name": name, "about": _about(part), "settings": _fields(part)}
        for name, part in ((name, METHODS.get(name)) for name in METHODS.names())
    ]
    rows = [(one["name"], one["about"], ", ".join(one["settings"])) for one in items]
    title = "Methods (recipe: method.name, method.settings)"
    return Listing(items, as_table(title, ("name", "what it does", "settings"), rows))


def attacks() -> Listing:
    from textunlearn.attacks import ATTACKS
    from textunlearn.attacks.grammar import settings_of

    names = ATTACKS.names()
    items: list[dict[str, Any]] = [
        {"name": name, "about": _about(ATTACKS.get(name)), "settings": _fields(settings_of(name))} for name in names
    ]
    rows = [(one["name"], one["about"], _settings(one["name"])) for one in items]
    title = "Attacks (a suite's attack: name, name(key=value, ...), or several joined by |)"
    return Listing(items, as_table(title, ("name", "what the model is shown", "settings, with their defaults"), rows))


def _fields(part: Any) -> dict[str, dict[str, Any]]:
    """The settings of a part, by name: default (none where it is needed), whether it is needed, what it means."""
    return {
        name: {
            "needed": field.is_required(),
            "default": None if field.is_required() else to_jsonable_python(field.default, fallback=str),
            "about": field.description or "",
        }
        for name, field in getattr(part, "model_fields", {}).items()
    }


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


def attack(expression: str, text: str, out: Path | None) -> dict[str, Any]:
    """What a model would be shown of the harmless request ``text``: ``typed`` words, how the answer has ``begun``, ``pictures``
    (width, height, and their file where one was written), ``sounds`` (seconds, and their file).

    ``out``: where a picture or sound is written, a second one beside it with ``-2`` in its name. UserError as `resolve` and the
    attack give.
    """
    from textunlearn.attacks.grammar import resolve
    from textunlearn.files import atomic
    from textunlearn.records import Prompt
    from textunlearn.sounds import write_sound

    shown = resolve(expression)(Prompt(text, "ordinary", "shell"))
    pictures = []
    for number, image in enumerate(shown.images, start=1):
        path = None
        if out is not None:
            path = (out if number == 1 else out.with_stem(f"{out.stem}-{number}")).with_suffix(".png")
            with atomic(path) as temporary:
                image.save(temporary, format="PNG")
        pictures.append({"width": image.width, "height": image.height, "file": path and str(path)})
    sounds = []
    for number, sound in enumerate(shown.sounds, start=1):
        path = None
        if out is not None:
            path = (out if number == 1 else out.with_stem(f"{out.stem}-{number}")).with_suffix(".wav")
            write_sound(sound, path)
        sounds.append({"seconds": round(sound.seconds, 2), "file": path and str(path)})
    return {"attack": expression, "typed": shown.text, "begun": shown.prefill, "pictures": pictures, "sounds": sounds}


def attack_in_words(shown: Mapping[str, Any]) -> str:
    """What `attack` gives, for people."""
    lines = ["typed: " + (shown["typed"] or "(nothing)")]
    if shown["begun"]:
        lines.append(f"answer begun with: {shown['begun']}")
    pictures = shown["pictures"]
    for number, one in enumerate(pictures, start=1):
        written = f", written to {one['file']}" if one["file"] else ""
        lines.append(f"picture {number}: {one['width']} x {one['height']} pixels{written}")
    if len(pictures) > 1:
        lines.append("Several pictures in a turn: for models that take them.")
    for number, one in enumerate(shown["sounds"], start=1):
        written = f", written to {one['file']}" if one["file"] else ""
        lines.append(f"sound {number}: {one['seconds']:.1f} seconds{written}")
    if any(not one["file"] for one in (*pictures, *shown["sounds"])):
        lines.append("--out FILE writes what the model would see or hear.")
    return "\n".join(lines)


def suites() -> Listing:
    from textunlearn.evaluation.suites import SUITES, sets_of

    names = ("name", "title", "source", "attack", "limit")
    items = [{name: getattr(suite, name) for name in names} | {"sets": sets_of(suite)} for suite in SUITES.values()]
    rows = [(*(str(one[name]) for name in names), ", ".join(one["sets"])) for one in items]
    columns = ("name", "what is tested", "source", "attack", "cases at most", "in the sets")
    return Listing(items, as_table("Suites (recipe: evaluation.suites, a set or a list of names)", columns, rows))


def judges() -> Listing:
    from textunlearn.judges import JUDGES

    parts = [(name, JUDGES.get(name)) for name in JUDGES.names()]
    items: list[dict[str, Any]] = [
        {"name": name, "about": _about(part), "needs_model": bool(getattr(part, "needs_model", False))}
        for name, part in parts
    ]
    rows = [(one["name"], one["about"]) for one in items]
    return Listing(items, as_table("Judges (recipe: evaluation.judge)", ("name", "how it judges"), rows))


def _item(name: str) -> dict[str, Any]:
    """A data set, for machines."""
    from textunlearn.data.questions import QUESTION_SETS
    from textunlearn.data.sources import source_info

    form = QUESTION_SETS.get(name).form if name in QUESTION_SETS.names() else None
    return {"name": name, **dataclasses.asdict(source_info(name)), "questions": form}


def datasets() -> Listing:
    from rich.text import Text

    from textunlearn.data.questions import QUESTION_SETS
    from textunlearn.data.sources import SOURCES, source_info
    from textunlearn.evaluation.forms import FORMS

    table = as_table(
        "Data sets (recipe: data.harmful, data.lookalike, data.ordinary, data.places; questions: evaluation.utility)",
        ("name, hub id", "requests", "kind, for", "licence", "what it holds, what is left out of it"),
        (),
    )
    table.columns[3].max_width = 16
    questions = QUESTION_SETS.names()
    for name in SOURCES.names():
        info = source_info(name)
        use = "training" if info.trainable else "tests only"
        asked = f"\nquestions: {QUESTION_SETS.get(name).form}" if name in questions else ""
        table.add_row(
            Text.assemble((name, "cyan"), ("\n" + info.hub if info.hub else "", "dim")),
            Text(_size(info)),
            Text(f"{info.kind}\n{use}{asked}"),
            Text(info.licence),
            Text.assemble(f"{info.about}.", (f" Left out: {info.cut}." if info.cut else "", "dim")),
        )
    table.caption = (
        "Always left out and counted: repeats, empty requests, missing pictures, and harmful requests that may be about minors. "
        "`textunlearn datasets NAME` counts them where the set is on this machine, and says how to get it where it is not. "
        "Questions have known answers (`textunlearn evaluate --utility NAME[:FORM]`); forms: "
        + "; ".join(f"{name}: {FORMS.get(name).about}" for name in FORMS.names())
        + "."
    )
    table.caption_justify = "left"
    return Listing([_item(name) for name in SOURCES.names()], table)


def _size(info: SourceInfo) -> str:
    """``500, pictures`` and the number of categories below it, as far as known."""
    first = ", ".join(filter(None, (_count(info.rows), "pictures" if info.pictures else "")))
    return f"{first}\n{info.categories} categories" if info.categories else first


def dataset(name: str, place: Path | None = None) -> str:
    """One data set in full: what it is, where it can be had, what a recipe says, and how many of it are usable here."""
    from textunlearn.data.questions import QUESTION_SETS
    from textunlearn.data.sources import SOURCES, Source, source_info
    from textunlearn.evaluation.forms import FORMS

    info, part = source_info(name), SOURCES.get(name)
    facts = {
        "holds": info.about,
        "kind": f"{info.kind}, {'may be trained on' if info.trainable else 'tests only'}",
        "rows": _count(info.rows) or "not counted",
        "pictures": "one beside every request" if info.pictures else "none",
        "categories": _count(info.categories) or "none",
        "licence": info.licence,
        "homepage": info.homepage,
        "hub": f"{info.hub}{' (asks you to accept its terms)' if info.gated else ''}" if info.hub else "",
        "left out": info.cut,
    }
    questions = QUESTION_SETS.get(name) if name in QUESTION_SETS.names() else None
    if questions is not None:
        facts["questions"] = f"with known answers; {questions.form}: {FORMS.get(questions.form).about}"
    lines = [name, "", *(f"  {key:<11}{value}" for key, value in facts.items() if value)]
    if not isinstance(part, Source):
        return "\n".join(lines)
    lines += ["", "  " + _here(part, place, questions), "", "In a recipe:", "", *_example(part, info.trainable)]
    if questions is not None:
        lines += ["  evaluation:", f"    utility: [{{source: {name}, limit: 200}}]"]
    return "\n".join(lines)


def dataset_item(name: str, place: Path | None = None) -> dict[str, Any]:
    """The same for machines; ``here``: what is usable of it on this machine, or how to get it, in a sentence."""
    from textunlearn.data.questions import QUESTION_SETS
    from textunlearn.data.sources import SOURCES, Source

    item, part = _item(name), SOURCES.get(name)
    questions = QUESTION_SETS.get(name) if name in QUESTION_SETS.names() else None
    return item | {"here": _here(part, place, questions) if isinstance(part, Source) else None}


def _here(part: Source, named: Path | None, questions: QuestionSet | None) -> str:
    """What is usable of the set, where it is on this machine; else how to get it. Nothing is fetched."""
    place = part.place(named) if named is not None else part.here()
    if place is None:
        return f"Not on this machine: {part.how_to_get()}."
    where = place.file or place.folder
    if questions is not None:
        read = questions.read(where, lambda _: [])  # none is chosen: no picture is kept
        count, reasons = f"{_count(read.pool)} questions", read.reasons
    else:
        kept = part.read(where)
        count, reasons = f"{_count(len(kept.prompts))} requests", kept.reasons
    cut = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items())) or "nothing"
    return f"Here ({place.title}): {count}; left out: {cut}."


def _example(part: Source, trainable: bool) -> list[str]:
    from textunlearn.data.questions import QUESTION_SETS

    lines = ["  data:"]
    if trainable:
        lines += [f"    {part.info.kind}:", f"      - source: {part.name}"]
    if not isinstance(part.packaged, Path):
        lines += ["    places:", f"      {part.folder_name}: /where/it/lies", "      # or a table of your own:"]
        if part.name in QUESTION_SETS.names():
            return lines[:-1]  # right answers do not fit a table with mapped columns
        columns = "{file: mine.csv, column: question" + (", image_column: picture}" if part.info.pictures else "}")
        lines.append(f"      # {part.name}: {columns}")
    return lines


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def as_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
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
