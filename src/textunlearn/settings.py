"""What is wrong with settings that pydantic refused, in the words of whoever wrote them."""

from __future__ import annotations

import reprlib
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError


def sentence(error: ValidationError, root: type[BaseModel]) -> str:
    """The first thing that is wrong with settings whose top level is ``root``, and how to mend it."""
    errors = error.errors()
    # of "a path or a table" the words about paths are pydantic's inner ones
    first = next((one for one in errors if not any("[" in str(part) for part in one["loc"])), errors[0])
    shown, parent = _place(first["loc"], root)
    where = ".".join(shown)
    if first["type"] == "missing":
        return f"{where} is needed and not there; add it"
    if first["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in getattr(parent, "model_fields", {}).items())
        return f"there is no key {where!r}; known here: {known or 'see the documentation'}"
    return f"{where or 'recipe'}: {first['msg'].removeprefix('Value error, ')} (got {_short.repr(first.get('input'))})"


def _place(loc: tuple[int | str, ...], root: type[BaseModel]) -> tuple[list[str], Any]:
    """How a user writes the place ``loc`` of settings, and the type of the group that its last part stands in."""
    kind: Any = root
    shown, group = [], None
    for part in loc:
        if get_origin(kind) in (Union, UnionType):  # this part names one of several types
            kind = next((one for one in get_args(kind) if getattr(one, "__name__", "") == part), None)
            continue
        shown.append(str(part))
        group, fields = kind, getattr(kind, "model_fields", None)
        members = get_args(kind)[-1:]  # of a list or dict of settings
        found = [fields[part].annotation] if fields and part in fields else members
        kind = found[0] if found else None
    return shown, group


_short = reprlib.Repr()
"""What was given may be as large as a file."""
_short.maxstring = _short.maxother = 80
