"""Refusals by the form of the request: what was learned may be a form instead of harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.report.sections import View, section


@section("forms", "By form", 35)
def forms(view: View) -> Mapping[str, Any]:
    return {"rows": [row for row in view.table.rows if row.forms], "models": view.table.models}
