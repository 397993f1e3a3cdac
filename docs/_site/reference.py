"""The two reference pages, written from what the program itself checks: the recipe's models and the command line's parser."""

from __future__ import annotations

import functools
import itertools
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import typer
import typer.main
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from textunlearn import cli, recipes
from textunlearn.recipe import Recipe


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _models(kind: Any) -> list[type[BaseModel]]:
    """The models inside an annotation such as ``list[SourceSpec] | None``."""
    if isinstance(kind, type) and not get_args(kind):
        return [kind] if issubclass(kind, BaseModel) else []
    return [model for inner in get_args(kind) for model in _models(inner)]


def _kind(kind: Any) -> str:
    """An annotation as a reader of YAML would put it."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(one) for one in inner))
    if origin in (list, tuple):
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return f"mapping to {_kind(inner[1])}"
    if origin is not None and inner:  # Annotated
        return _kind(inner[0])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "mapping"
    return {type(None): "null", str: "text", int: "whole number", float: "number", bool: "true or false"}.get(
        kind, getattr(kind, "__name__", str(kind)).lower()
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its own"
    if isinstance(value, list | tuple) and value and isinstance(value[0], BaseModel):
        return "see `textunlearn recipe`"
    return "null" if value is None else f"`{_cell(value)}`"


def _meaning(field: FieldInfo, comment: str) -> str:
    """What a key means: its model's word on it or quickstart.yaml's, whichever says more."""
    return max(field.description or "", comment, key=len)


@functools.cache
def _comments() -> dict[str, str]:
    """Key path -> the comment beside it in quickstart.yaml, which names every key; lines of comment below it included."""
    text = recipes.find(recipes.DEFAULT).read_text(encoding="utf-8")
    lines, found = text.splitlines(), {}

    def walk(node: yaml.MappingNode, prefix: str) -> None:
        for key, value in node.value:
            beside = re.search(r"\s#\s*(.*)$", lines[key.start_mark.line])
            below = itertools.takewhile(
                bool, (re.match(r"\s{12,}#\s*(.*)$", line) for line in lines[key.start_mark.line + 1 :])
            )
            if beside:
                found[prefix + key.value] = " ".join([beside[1], *(one[1] for one in below if one)])
            if isinstance(value, yaml.MappingNode):
                walk(value, f"{prefix}{key.value}.")

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    walk(root, "")
    return found


def _sections(model: type[BaseModel], path: str, above: tuple[type[BaseModel], ...] = ()) -> Iterator[str]:
    doc = (model.__doc__ or "").strip().split("\n\n")[0]
    yield f"\n## {f'`{path}`' if path else 'The top'}\n\n{' '.join(doc.split())}\n"
    yield "\n| Key | Takes | Default | Meaning |\n|---|---|---|---|\n"
    for name, field in model.model_fields.items():
        meaning = _cell(_meaning(field, _comments().get(f"{path}.{name}".lstrip("."), "")))
        yield f"| `{field.alias or name}` | {_kind(field.annotation)} | {_default(field)} | {meaning} |\n"
    for name, field in model.model_fields.items():
        for inner in dict.fromkeys(_models(field.annotation)):
            if inner not in (*above, model):
                yield from _sections(inner, f"{path}.{name}".lstrip("."), (*above, model))


def recipe_page() -> str:
    """Every key of a recipe with what it takes, its default and its meaning, as Markdown."""
    head = "# Recipe reference\n\nMade from the models that check a recipe. `textunlearn recipe quickstart` prints one with reasons.\n"
    return head + "".join(_sections(Recipe, ""))


def command_page() -> str:
    """Every verb of ``textunlearn`` with its arguments and options, as Markdown."""
    group = typer.main.get_command(cli.app)
    parts = [
        "# Command reference\n\nMade from the parser of the command line; `textunlearn VERB --help` says the same.\n"
    ]
    verbs = dict(group.commands)  # type: ignore[attr-defined]
    below = {
        f"{name} {inner}": one for name, verb in verbs.items() for inner, one in getattr(verb, "commands", {}).items()
    }
    for name, command in sorted((verbs | below).items(), key=lambda item: list(verbs).index(item[0].split()[0])):
        if command.hidden:
            continue
        context = typer.Context(command, info_name=f"textunlearn {name}")
        usage = " ".join(command.collect_usage_pieces(context))
        parts.append(f"\n## {name}\n\n```text\ntextunlearn {name} {usage}\n```\n\n")
        help_text = (command.help or "").split("\b")[0].strip()
        parts.append(f"{help_text}\n\n| | Meaning |\n|---|---|\n")
        for parameter in command.params:
            if getattr(parameter, "hidden", False):
                continue
            names = ", ".join(f"`{one}`" for one in [*parameter.opts, *parameter.secondary_opts])
            if parameter.param_type_name == "argument":
                names = f"`{(parameter.metavar or parameter.name or '').upper()}`"
            parts.append(f"| {names} | {_cell(getattr(parameter, 'help', '') or '')} |\n")
    return "".join(parts)
