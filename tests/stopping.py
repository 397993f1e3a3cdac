"""How tests stop what they test: as a user's Ctrl-C does, in a process of its own or in the middle of a function."""

from __future__ import annotations

import signal
from typing import Any

import pytest


def as_in_a_terminal() -> None:
    """For ``Popen(preexec_fn=...)``: a shell starts background jobs deaf to Ctrl-C, and their children inherit it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stopped_at_the_third_call(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """Let the function ``name`` of ``module`` (a model, then rows) be stopped by Ctrl-C at its third call, and only there.

    Returns:
        The rows of each call that went through, filled as they come; the stop itself is a 0.
    """
    real, seen = getattr(module, name), []

    def counted(vlm: Any, rows: Any, *more: Any) -> Any:
        if len(seen) == 2:
            seen.append(0)
            raise KeyboardInterrupt
        seen.append(len(rows))
        return real(vlm, rows, *more)

    monkeypatch.setattr(module, name, counted)
    return seen
