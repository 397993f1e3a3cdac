"""The recipes that ship with the package, found by name, and recipes changed from the command line.

``quickstart.yaml`` explains every setting; the others name only what they change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from textunlearn.errors import UserError
from textunlearn.recipe import Recipe

FOLDER = Path(__file__).parent
DEFAULT = "quickstart"


def names() -> list[str]:
    """Shipped recipes, the default first."""
    return sorted((path.stem for path in FOLDER.glob("*.yaml")), key=lambda name: (name != DEFAULT, name))


def find(recipe: str) -> Path:
    """The file of a recipe: a path, or the name of a shipped one. UserError if it is neither."""
    path = Path(recipe)
    if path.is_file():
        return path
    if recipe in names():
        return FOLDER / f"{recipe}.yaml"
    raise UserError(f"there is no recipe {recipe}; give a YAML file, or a shipped one: {', '.join(names())}")


def about(name: str) -> str:
    """What a shipped recipe is for: the first line of its opening comment."""
    return find(name).read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ").strip()


def read(recipe: str | None, changes: Sequence[str] = (), **values: Any) -> Recipe:
    """The checked recipe ``recipe`` (None: the default one) with changes from the command line.

    Args:
        changes: ``key.path=value``, where the value is YAML: ``slots.share=0``, ``data.harmful=[{file: mine.csv}]``.
        values: the same by keyword, with ``__`` for the dot; None is left out.

    UserError for a change that does not fit, as for a bad recipe.
    """
    path = find(recipe or DEFAULT)
    base = Recipe.read(path)
    pairs = [_split(change) for change in changes]
    pairs += [(key.replace("__", "."), value) for key, value in values.items() if value is not None]
    if not pairs:
        return base
    data = base.model_dump(mode="json", exclude_unset=True)
    for key, value in pairs:
        _put(data, key, value)
    return Recipe.parse(data, f"{path.name} with {', '.join(key for key, _ in pairs)} changed")


def _split(change: str) -> tuple[str, Any]:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {change} is not of the form key.path=value, e.g. --set slots.share=0")
    try:
        return key.strip(), yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {key}: {text!r} is not a YAML value; put special characters in quotes") from None


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise UserError(f"{key} cannot be set: {parent} is a value, not a group of settings")
    data[last] = value
