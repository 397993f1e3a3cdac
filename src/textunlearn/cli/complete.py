"""What the shell offers when Tab is pressed, beyond verbs and options: names of recipes, suites, judges, methods, settings.

typer does the rest. Nothing heavy is imported: a Tab that takes seconds is worse than none.
"""

from __future__ import annotations

import contextlib
import io
import os
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel

VARIABLE = "_TEXTUNLEARN_COMPLETE"
"""By which a shell's script asks for completions (typer's way)."""
BREAKS = "=:@"
"""Where bash cuts words; our names and settings have these in their middle."""

Offer = list[str | tuple[str, str]]


def recipes(incomplete: str) -> Offer:
    from textunlearn import recipes

    return [(name, recipes.about(name)) for name in recipes.names()]


def comparisons(incomplete: str) -> Offer:
    from textunlearn import recipes

    return [(name, recipes.about(name)) for name in recipes.comparisons()]


def all_recipes(incomplete: str) -> Offer:
    return [*recipes(incomplete), *comparisons(incomplete)]


def suites(incomplete: str) -> Offer:
    """Suites and sets of them; after ``SOURCE@`` attacks."""
    from textunlearn.evaluation.suites import SETS, SUITES

    source, at, _ = incomplete.rpartition("@")
    if at:
        return [f"{source}@{name}" for name in _registered("attacks", "ATTACKS")]
    offer: Offer = [(name, "a set of suites") for name in SETS]
    return offer + [(suite.name, suite.title) for suite in SUITES.values()]


def suite_rates(incomplete: str) -> Offer:
    """``SUITE=``, for limits."""
    from textunlearn.evaluation.suites import SUITES

    return [(f"{suite.name}=", suite.title) for suite in SUITES.values()]


def judges(incomplete: str) -> Offer:
    return [*_registered("judges", "JUDGES")]


def methods(incomplete: str) -> Offer:
    return [*_registered("methods", "METHODS"), "all"]


def attacks(incomplete: str) -> Offer:
    return [*_registered("attacks", "ATTACKS")]


def sources(incomplete: str) -> Offer:
    return [*_registered("data.sources", "SOURCES")]


def places(incomplete: str) -> Offer:
    """``SOURCE=``; what comes after it is a path, which the shell itself knows."""
    from textunlearn.data.sources import place_names

    return [] if "=" in incomplete else [f"{name}=" for name in place_names()]


def questions(incomplete: str) -> Offer:
    return [*_registered("data.questions", "QUESTION_SETS")]


def models(incomplete: str) -> Offer:
    """``RUN:MODEL`` once the folder is typed; before that the shell completes paths."""
    from textunlearn.files import read_json

    run, colon, _ = incomplete.rpartition(":")
    path = Path(run) / "metrics.json"
    if not colon or not path.is_file():
        return []
    return [f"{run}:{name}" for name in read_json(path).get("models", [])]


def recipe_settings(incomplete: str) -> Offer:
    """``key.path=`` of a recipe, and after it what the key takes."""
    from textunlearn.recipe import Recipe

    return _settings(Recipe, incomplete)


def evaluation_settings(incomplete: str) -> Offer:
    """The same for an evaluation of one model."""
    from textunlearn.evaluation.single import SingleSpec

    return _settings(SingleSpec, incomplete)


_VALUES: dict[str, Callable[[str], Offer]] = {
    "method.name": lambda _: [*_registered("methods", "METHODS")],
    "evaluation.judge": judges,
}
"""Keys whose values are names of registered parts."""


def _registered(module: str, registry: str) -> list[str]:
    import importlib

    names: list[str] = getattr(importlib.import_module(f"textunlearn.{module}"), registry).names()
    return names


def _settings(model: type[BaseModel], incomplete: str) -> Offer:
    keys = dict(_leaves(model))
    key, equals, _ = incomplete.partition("=")
    if not equals:
        return [(f"{name}=", about) for name, (about, _) in keys.items()]
    if key not in keys:
        return []
    offered = _VALUES[key]("") if key in _VALUES else list(_choices(keys[key][1]))
    return [f"{key}={value}" for value in offered]


def _leaves(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, tuple[str, Any]]]:
    """Every setting by its path, with its description and its type."""
    from pydantic import BaseModel

    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _leaves(inner, f"{before}{name}.")
        else:
            yield before + name, (field.description or "", inner)


def _choices(annotation: Any) -> Iterator[str]:
    """The words that a type allows: of a Literal, of a bool, of any of a union."""
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif get_origin(annotation) in (Union, types.UnionType, typing.Annotated):
        for one in get_args(annotation):
            yield from _choices(one)


def script(shell: str) -> str:
    """The script that makes ``shell`` complete; bash leaves out the space after a name that a value follows."""
    from typer.completion import get_completion_script

    text: str = get_completion_script(prog_name="textunlearn", complete_var=VARIABLE, shell=shell)
    if shell == "bash":
        text = text.replace("    return 0", "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n    return 0")
    return text


def in_bash(run: Callable[[], int]) -> int:
    """Answer bash, which hands over ``key=value`` in three words and wants only the last of them back.

    ``run`` writes the completions of what the environment holds to stdout. Returns its exit code.
    """
    words, current, before = rejoin(os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"]))
    os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(current)}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = run()
    for line in said.getvalue().splitlines():
        print(line.removeprefix(before))
    return code


def rejoin(words: Sequence[str], current: int) -> tuple[list[str], int, str]:
    """``words`` as they were typed, which of them is completed, and its part up to the last break, which bash keeps by itself."""
    out: list[str] = []
    open_end, place = False, current
    for number, word in enumerate(words):
        is_break = bool(word) and not word.strip(BREAKS)
        if out and (is_break or open_end):
            out[-1] += word
        else:
            out.append(word)
        open_end = is_break
        if number == current:
            place = len(out) - 1
    if current >= len(words):  # nothing is typed yet of the last word
        place = len(out)
    typed = out[place] if place < len(out) else ""
    return out, place, typed[: 1 + max(map(typed.rfind, BREAKS))]
