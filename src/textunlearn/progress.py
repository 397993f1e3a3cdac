"""Progress bars with time left, and the plain lines a run says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


class Bar:
    """One bar: ``set(done, total)`` or ``add(n)``."""

    def __init__(self, progress: object, task: object) -> None:
        self._progress, self._task = progress, task

    def set(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)  # type: ignore[attr-defined]

    def add(self, n: int) -> None:
        self._progress.advance(self._task, n)  # type: ignore[attr-defined]


@contextlib.contextmanager
def bar(console: Console, label: str, total: int | None = None) -> Iterator[Bar]:
    """A bar with counts, time spent and time left; on a screen that is not a terminal, one line when done."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        yield Bar(progress, progress.add_task(label, total=total))
