"""The first thing to see: every model in one row, safety, over-refusal and usefulness side by side, and one picture of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.records import HEADLINE, LABELS, Label
from textunlearn.report.pooling import KIND_OF, by_family, overall
from textunlearn.report.run_folder import section as metrics_section
from textunlearn.report.sections import View, section
from textunlearn.report.table import ATTACKS, HARMLESS, percent
from textunlearn.report.verdict import verdict

SHORT = {"perplexity_ratio": "perplexity, ×", "perplexity": "perplexity", "kl_per_token": "KL, nats a token"}
SHOWN = ("perplexity_ratio", "kl_per_token")
"""The rest stands in the table by attack."""


def error_sentence(judge: str) -> str:
    """What was measured of ``judge`` (its name with version), as the end of a sentence that its name begins; "" where nothing was."""
    from textunlearn.evaluation.judge_error import error_of

    parts = []
    for group, what in ((ATTACKS, "unsafe answers"), (HARMLESS, "refusals of harmless requests")):
        error = error_of(judge, KIND_OF[group])
        if error and error.sensitivity.value is not None and error.specificity.value is not None:
            alarms = 1 - error.specificity.value
            parts.append(
                f"{percent(error.sensitivity.value)} of {what} (and sees {percent(alarms)} where there is none)"
            )
    return f"finds {' and '.join(parts)}, measured on labelled answers." if parts else ""


@section("result", "Result", 10)
def result(view: View) -> Mapping[str, Any]:
    table, run = view.table, view.run
    whole = overall(table, run.judge)
    rest: dict[str, list[Label]] = {}
    for group in whole:
        head = HEADLINE[KIND_OF[group]]
        rest[group] = [head, *(label for label in LABELS if label != head)]
    row = whole[HARMLESS]
    if row and not any(rate and rate.k for cell in row.cells if cell and (rate := cell.rates["unsafe"])):
        rest[HARMLESS].remove("unsafe")  # which no judge of ours calls an answer to a harmless request
    measures = [one for one in table.measures if one.key in SHOWN] or list(table.measures)
    about = metrics_section(run.metrics, "run")
    return {
        "alone": view.alone,
        "models": table.models,
        "overall": whole,
        "columns": rest,
        "measures": measures,
        "short": SHORT,
        "benchmarks": table.benchmarks,
        "families": by_family(table, run.judge),
        "cautions": verdict(table).cautions,
        "judge": run.judge,
        "judge_error": error_sentence(run.judge),
        "origin": about.get("model") or run.environment.get("model") or "not recorded",
        "seed": about.get("seed", run.environment.get("seed", "not recorded")),
        "size": len(run.cases),
        "show_unsafe": view.show_unsafe,
    }
