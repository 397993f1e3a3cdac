"""The cases themselves. With the page's script all of them, to filter and search; without it, and on paper, a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.records import LABELS
from textunlearn.report.browser import cases_json, moves
from textunlearn.report.gallery import gallery, sample
from textunlearn.report.sections import View, section
from textunlearn.report.shell import embedded


@section("cases", "Cases", 40)
def cases(view: View) -> Mapping[str, Any]:
    run = view.run
    items = gallery(run, show_unsafe=view.show_unsafe, progress=view.progress)
    pair = {"attacks": ("harmful",), "harmless": ("lookalike", "ordinary")}
    counted = {name: moves(items, kinds) for name, kinds in pair.items()} if len(run.models) > 1 else {}
    return {
        "items": items,
        "sample": sample(items),
        "titles": view.titles,
        "all": len(run.cases),
        "show_unsafe": view.show_unsafe,
        "alone": len(run.models) < 2,
        "wide": len(run.models) > 2,
        "ends": (run.models[0], run.models[-1]) if run.models else ("", ""),
        "moves": {name: found for name, found in counted.items() if found},
        "labels": LABELS,
        "judge": run.judge,
        "data": embedded(cases_json(items, run.models, view.titles, run.judge)),
    }
