"""What the guards decided while the model was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.report.sections import View, section


@section("guards", "Guards", 55)
def guards(view: View) -> Mapping[str, Any] | None:
    events = [row for row in view.run.metrics.get("guard") or [] if isinstance(row, Mapping)]
    return {"events": [(row.get("step"), row.get("what")) for row in events]} if events else None
