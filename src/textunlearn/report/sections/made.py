"""How the run was made: judge, machine, versions, data, recipe; and what its folder lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.report.quantities import facts
from textunlearn.report.sections import View, section


@section("made", "How it was made", 80)
def made(view: View) -> Mapping[str, Any]:
    from textunlearn.evaluation.second_opinion import sentences

    run = view.run
    return {
        "judge": run.judge,
        "judge_error": facts(run.metrics["judge_error"]) if run.metrics.get("judge_error") else [],
        "second_opinions": sentences(run.metrics.get("second_opinions") or [], run.judge),
        "environment": [line for key, value in run.environment.items() if key != "data" for line in facts(value, key)],
        "sets": facts(run.environment["data"]) if run.environment.get("data") else [],
        "recipe": run.recipe,
        "missing": run.missing,
    }
