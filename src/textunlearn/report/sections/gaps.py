"""What the run itself says that it did not measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.report.sections import View, section


@section("gaps", "Not measured", 90)
def gaps(view: View) -> Mapping[str, Any]:
    return {"lines": [str(line) for line in view.run.metrics.get("not_measured") or []]}
