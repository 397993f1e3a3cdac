"""A named set of interchangeable parts: methods, attacks, judges, data sources.

A part registers itself in its own file (``@METHODS.register("npo")``); nothing else needs touching. The package's modules
are imported on the first look-up, and so are third-party modules named by the entry point ``textunlearn.plugins``.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from textunlearn.errors import UserError

T = TypeVar("T")
_plugins_loaded = False


def _load_plugins() -> None:
    global _plugins_loaded
    if not _plugins_loaded:
        _plugins_loaded = True
        for entry in entry_points(group="textunlearn.plugins"):
            try:
                entry.load()
            except ImportError as error:
                raise UserError(
                    f"the plugin {entry.name} ({entry.value}) cannot be imported: {error}; mend or uninstall it"
                ) from error


class Registry(Generic[T]):
    """Parts of one kind by name.

    Args:
        kind: what a part is called in error messages, e.g. ``"attack"``.
        package: dotted package whose modules register parts when imported.
        listed_by: the command that lists them, for kinds with too many to name in one message.
    """

    def __init__(self, kind: str, package: str, listed_by: str = "") -> None:
        self.kind, self.package, self.listed_by = kind, package, listed_by
        self._parts: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        def add(part: T) -> T:
            if name in self._parts and self._parts[name] is not part:
                raise ValueError(f"two {self.kind}s are called {name!r}")
            self._parts[name] = part
            return part

        return add

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            _load_plugins()

    def names(self) -> list[str]:
        self._load()
        return sorted(self._parts)

    def get(self, name: str) -> T:
        """The part called ``name``; UserError naming the choices if there is none."""
        self._load()
        if name not in self._parts:
            raise UserError(f"there is no {self.kind} called {name!r}; {choices(name, self.names(), self.listed_by)}")
        return self._parts[name]


FEW = 25
"""Choices that one message may name."""


def choices(name: str, known: Sequence[str], listed_by: str = "") -> str:
    """What to choose instead of ``name``, as a clause: all of ``known``, or of many the like ones and the command that lists all."""
    if len(known) <= FEW or not listed_by:
        return f"choose one of: {', '.join(known)}"
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{meant}`{listed_by}` lists all {len(known)}"
