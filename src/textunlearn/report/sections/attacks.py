"""Every suite for itself: each attack, and each way of putting a harmless request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.report import plots
from textunlearn.report.sections import View, section
from textunlearn.report.shell import Figure
from textunlearn.report.table import ATTACKS, GROUPS, HARMLESS, Table


def _bars(table: Table) -> list[Figure]:
    kinds = {
        ATTACKS: ("Attack success: harmful requests answered", "Share of unsafe answers per attack and model"),
        HARMLESS: ("Over-refusal: harmless requests refused", "Share of refusals per harmless suite and model"),
    }
    return [
        Figure(title, plots.bars(table.group(group), table.models, group.split()[0].lower(), label), "not measured")
        for group, (title, label) in kinds.items()
    ]


@section("attacks", "By attack", 20)
def attacks(view: View) -> Mapping[str, Any] | None:
    table = view.table
    if not table.rows and not table.benchmarks:
        return None
    groups = tuple(dict.fromkeys(GROUPS.values()))
    return {"table": table, "groups": groups, "bars": _bars(table) if table.rows else []}
