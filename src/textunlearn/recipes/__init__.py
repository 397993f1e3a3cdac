"""The recipes that ship with the package, found by name, and recipes changed from the command line.

``quickstart.yaml`` explains every setting; the others name only what they change. A file with ``entries`` describes a
comparison of several runs (`textunlearn.comparison.spec`), any other one run.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textunlearn import plain_yaml
from textunlearn.errors import UserError
from textunlearn.recipe import Recipe

FOLDER = Path(__file__).parent
DEFAULT, COMPARISON = "quickstart", "comparison"


def names() -> list[str]:
    """Shipped recipes of one run, the default first."""
    return _shipped(False)


def comparisons() -> list[str]:
    """Shipped comparisons, the default first."""
    return _shipped(True)


def _shipped(comparison: bool) -> list[str]:
    found = [path.stem for path in FOLDER.glob("*.yaml") if is_comparison(path) is comparison]
    return sorted(found, key=lambda name: (name not in (DEFAULT, COMPARISON), name))


def is_comparison(path: Path) -> bool:
    """Whether a recipe file describes a comparison: it has a top-level key ``entries``. A file that cannot be read has none."""
    try:
        return re.search(r"^entries\s*:", path.read_text(encoding="utf-8-sig"), re.MULTILINE) is not None
    except (OSError, UnicodeDecodeError):
        return False


def find(recipe: str) -> Path:
    """The file of a recipe: a path, or the name of a shipped one. UserError if it is neither."""
    path = Path(recipe)
    if path.is_file():
        return path
    shipped = [*names(), *comparisons()]
    if recipe in shipped:
        return FOLDER / f"{recipe}.yaml"
    raise UserError(f"there is no recipe {recipe}; give a YAML file, or a shipped one: {', '.join(shipped)}")


def about(name: str) -> str:
    """What a shipped recipe is for: the first line of its opening comment."""
    return find(name).read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ").strip()


def read(recipe: str | None, changes: Sequence[str] = (), **values: Any) -> Recipe:
    """The checked recipe ``recipe`` (None: the default one) with changes from the command line.

    Args:
        changes: ``key.path=value``, where the value is YAML: ``slots.share=0``, ``data.harmful=[{file: mine.csv}]``.
        values: the same by keyword, with ``__`` for the dot; None is left out.

    UserError for a comparison, and for a change that does not fit, as for a bad recipe.
    """
    path = find(recipe or DEFAULT)
    if is_comparison(path):
        raise UserError(f"{recipe} describes a comparison of several runs; use `textunlearn compare {recipe}`")
    base = Recipe.read(path)
    if not changes and all(value is None for value in values.values()):
        return base
    return changed(base.model_dump(mode="json", exclude_unset=True), changes, path.name, **values)


def changed(data: Mapping[str, Any], changes: Sequence[str], where: str, **values: Any) -> Recipe:
    """The recipe of ``data`` (as YAML gives it) with changes, as for `read`; ``where``: what it is called in messages."""
    named = [key for key, _ in map(_split, changes)]
    given = {key.replace("__", "."): value for key, value in values.items() if value is not None}
    out = put(data, changes)
    for key, value in given.items():
        _put(out, key, value)
    named += [key for key in given if key not in ("name", "seed")]
    return Recipe.parse(out, f"{where} with {', '.join(named)} changed" if named else where)


def put(data: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of ``data`` with each ``key.path=value`` put in its place. UserError for one of another form."""
    out = copy.deepcopy(dict(data))
    for change in changes:
        _put(out, *_split(change))
    return out


def _split(change: str) -> tuple[str, Any]:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {change} is not of the form key.path=value, e.g. --set slots.share=0")
    try:
        return key.strip(), plain_yaml.parse(text, "the value")
    except UserError:
        raise UserError(f"--set {key}: {text!r} is not a YAML value; put special characters in quotes") from None


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise UserError(f"{key} cannot be set: {parent} is a value, not a group of settings; set that")
    data[last] = value
