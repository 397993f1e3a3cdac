"""What the guards looked at, and what they decided while the model was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.report.sections import View, section


@section("guards", "Guards", 55)
def guards(view: View) -> Mapping[str, Any] | None:
    def rows(name: str) -> list[Mapping[str, Any]]:
        return [row for row in view.run.metrics.get(name) or [] if isinstance(row, Mapping)]

    events = [(row.get("step"), row.get("what")) for row in rows("guard")]
    checks = [(row.get("what"), row.get("found")) for row in rows("checks")]
    return {"events": events, "checks": checks} if events or checks else None
