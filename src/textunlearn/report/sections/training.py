"""Curves of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textunlearn.report import plots
from textunlearn.report.run_folder import RunFolder, form_names, series
from textunlearn.report.sections import View, section
from textunlearn.report.shell import Figure


def _curves(run: RunFolder) -> list[Figure]:
    steps = [row for row in run.training if "validation" not in row]
    looks = [row for row in run.training if isinstance(row.get("validation"), Mapping)]
    nll = [series(steps, "harmful answers", "harm_nll"), series(steps, "safe answers", "safe_nll")]
    kl = [series(steps, "per token", "kl"), series(steps, "first answer token", "first_token_kl")]
    names = {
        "harmful answered": "asr",
        "look-alikes refused": "lookalike_refusal",
        "ordinary refused": "ordinary_refusal",
        "broken": "broken",
    }
    held_out = [series(looks, name, "validation", key) for name, key in names.items()]
    forms = [series(looks, form or "no form", "validation", "by_form", form) for form in form_names(looks)]
    drawn = {
        "Negative log-likelihood of answers, nats per token": (nll, "nll", False),
        "KL to the original on harmless answers, nats": (kl, "kl", False),
        "Held-out prompts during training": (held_out, "validation", True),
        "Refusals of held-out prompts, by form": (forms, "forms", True),
    }
    return [
        Figure(title, plots.curves(lines, name, f"{title}: curves over training steps", share=share), "not logged")
        for title, (lines, name, share) in drawn.items()
    ]


@section("training", "Training", 50)
def training(view: View) -> Mapping[str, Any] | None:
    run = view.run
    if view.alone and not run.training and not run.metrics.get("guard"):
        return None  # a model that was measured as it is
    return {"curves": _curves(run) if run.training else []}
