"""The parts of a run's page: each is one file here with its template beside it (``NAME.html.jinja``), and registers itself.

A part says where it stands by ``order``, and its ``build`` gives the template's variables from the run, or None where the run has nothing
to do with it: then neither the part nor its link is on the page. What should be there and is not is said by the part itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from textunlearn.registry import Registry
from textunlearn.report.gallery import Progress
from textunlearn.report.run_folder import RunFolder
from textunlearn.report.table import Table


@dataclass(frozen=True)
class View:
    """What a part is made from."""

    run: RunFolder
    table: Table
    show_unsafe: bool
    progress: Progress | None = None
    """For a part that takes long: (cases done, all)."""

    @property
    def alone(self) -> bool:
        """One model only: nothing has a before and an after."""
        return len(self.table.models) == 1

    @property
    def titles(self) -> dict[str, str]:
        """Suite -> what a person reads for it."""
        return {row.suite: row.title for row in self.table.rows}


@dataclass(frozen=True)
class Section:
    """A part of the page. ``order``: from small to large down the page; ``title``: its link in the bar at the top."""

    title: str
    order: int
    build: Callable[[View], Mapping[str, Any] | None]


SECTIONS: Registry[Section] = Registry("section of the report", "textunlearn.report.sections")


def section(name: str, title: str, order: int) -> Callable[[Callable[[View], Mapping[str, Any] | None]], Any]:
    """Register the decorated function as the part ``name``, whose template is ``sections/NAME.html.jinja``."""

    def add(build: Callable[[View], Mapping[str, Any] | None]) -> Callable[[View], Mapping[str, Any] | None]:
        SECTIONS.register(name)(Section(title, order, build))
        return build

    return add


@dataclass(frozen=True)
class Built:
    """A part that is on the page, ready for its template."""

    id: str
    title: str
    template: str
    values: Mapping[str, Any]


def built(view: View) -> list[Built]:
    """The parts of ``view``'s page in their order."""
    parts = sorted(((SECTIONS.get(name), name) for name in SECTIONS.names()), key=lambda pair: (pair[0].order, pair[1]))
    made = [(name, part, part.build(view)) for part, name in parts]
    return [
        Built(name, part.title, f"sections/{name}.html.jinja", values)
        for name, part, values in made
        if values is not None
    ]
