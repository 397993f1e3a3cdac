"""What no figure on the page can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.report.sections import View, section


@section("limits", "Limits", 95)
def limits(_: View) -> Mapping[str, Any]:
    return {}
