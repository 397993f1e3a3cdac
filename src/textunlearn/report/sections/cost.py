"""What it took: time, steps, tokens, compute, memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from textunlearn.report.quantities import bytes_text, duration, flops_text, tokens_text
from textunlearn.report.run_folder import as_number
from textunlearn.report.run_folder import section as metrics_section
from textunlearn.report.sections import View, section

PHASES = {"train": "Training", "evaluate": "Evaluation", "sample": "Sampling answers to learn from"}
COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("seconds", "Time", duration),
    ("steps", "Steps", lambda v: f"{v:,.0f}"),
    ("tokens", "Tokens", tokens_text),
    ("flops", "Compute", flops_text),
    ("peak_memory_bytes", "Peak memory", bytes_text),
)


def cost_rows(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """(phase, texts in the order of COSTS) for the phases the metrics name; what was not recorded is "—"."""
    rows = []
    for phase, data in metrics_section(metrics, "cost").items():
        if isinstance(data, Mapping):
            values = [as_number(data.get(key)) for key, _, _ in COSTS]
            texts = ["—" if v is None else show(v) for v, (_, _, show) in zip(values, COSTS, strict=True)]
            rows.append((PHASES.get(phase, phase[:1].upper() + phase[1:]), texts))
    return rows


@section("cost", "Cost", 60)
def cost(view: View) -> Mapping[str, Any]:
    return {"rows": cost_rows(view.run.metrics), "names": [name for _, name, _ in COSTS]}
