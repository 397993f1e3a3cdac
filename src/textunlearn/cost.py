"""What each step of a run cost: seconds, peak memory, energy where the machine reports it, and figures of the step's own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textunlearn.files import read_json, write_json


class Costs:
    """The costs of a run's steps, by step, kept in ``path`` over all sittings."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: dict[str, dict[str, Any]] = read_json(path) if path.exists() else {}

    def put(self, steps: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what was measured elsewhere."""
        self.steps |= {name: dict(figures) for name, figures in steps.items()}
        write_json(self.path, self.steps)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Add the block's cost to that of ``name``, also where it is cut off by an error or Ctrl-C, and keep the figures it puts
        into the yielded dict. Not counted: sittings that the system killed."""
        from textunlearn.environment import energy_joules, peak_memory

        before = self.steps.get(name, {})
        started, joules = time.monotonic(), energy_joules()
        figures: dict[str, Any] = {}
        try:
            yield figures
        finally:
            spent: dict[str, Any] = {
                "seconds": round(before.get("seconds", 0.0) + time.monotonic() - started, 1),
                "peak_memory_bytes": max(before.get("peak_memory_bytes", 0), peak_memory()),
            }
            if joules is not None and (now := energy_joules()) is not None:  # of the whole machine
                spent["energy_joules"] = round(before.get("energy_joules", 0.0) + now - joules, 1)
            self.put({name: {**before, **spent, **figures}})
