"""By what the requests are about, as their data sets sort them, over all suites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.report.pooling import by_topic
from textunlearn.report.sections import View, section


@section("topics", "By category", 30)
def topics(view: View) -> Mapping[str, Any] | None:
    if not view.run.cases:
        return None
    found = {group: rows for group, rows in by_topic(view.run).items() if rows}
    return {"groups": found, "models": view.run.models}
