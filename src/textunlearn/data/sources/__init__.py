"""Data sources, one file each. A file registers its loader, and what must be known of it, with ``@source(name, info)``.

Third parties add theirs in the same way, or with ``@SOURCES.register(name)`` alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from textunlearn.data.filters import drop_minors
from textunlearn.records import Prompt
from textunlearn.registry import Registry

Loader = Callable[[], list[Prompt]]
SOURCES: Registry[Loader] = Registry("data source", "textunlearn.data.sources")

AUTHORED = Path(__file__).parent.parent / "authored"
THIRD_PARTY = Path(__file__).parent.parent / "third_party"


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What must be known of a source.

    Args:
        rows: as published, before anything is dropped (0: not known). The loader leaves out prompts about minors.
        trainable: False for sets kept as tests; training on them is refused.
    """

    about: str
    licence: str
    homepage: str
    trainable: bool
    rows: int = 0


_INFO: dict[str, SourceInfo] = {}
UNKNOWN = SourceInfo(about="", licence="unknown", homepage="", trainable=True)


def source(name: str, info: SourceInfo) -> Callable[[Loader], Loader]:
    """Register a loader. Harmful prompts about minors never leave it."""

    def add(loader: Loader) -> Loader:
        @functools.wraps(loader)
        def load() -> list[Prompt]:
            return drop_minors(loader()).prompts

        _INFO[name] = info
        return SOURCES.register(name)(load)

    return add


def source_info(name: str) -> SourceInfo:
    """UserError if there is no such source; ``UNKNOWN`` for one that registered without saying."""
    SOURCES.get(name)
    return _INFO.get(name, UNKNOWN)
