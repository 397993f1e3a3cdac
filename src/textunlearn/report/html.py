"""The self-contained page: everything a model, a data set or a recipe says goes through Jinja's escaping."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.files import write_text
from textunlearn.report import plots
from textunlearn.report.gallery import gallery
from textunlearn.report.run_folder import RunFolder, as_number, form_names, read_run, section, series
from textunlearn.report.table import ATTACKS, GROUPS, HARMLESS, NAMES, Table, label_name, number, percent, read_table
from textunlearn.report.verdict import verdict

if TYPE_CHECKING:
    from jinja2 import Environment

NAME = "report.html"
PHASES = {"train": "Training", "evaluate": "Evaluation", "sample": "Sampling answers to learn from"}


@dataclass(frozen=True, slots=True)
class Figure:
    """``svg``: one inline element, "" if there was nothing to draw; ``missing``: what to say then."""

    title: str
    svg: str
    missing: str


def quantity(value: float, units: Sequence[str], base: float) -> str:
    """``value`` in the largest unit that leaves at least 1, with 3 digits, e.g. "2.31 GB"."""
    place = 0
    while abs(value) >= base and place < len(units) - 1:
        value, place = value / base, place + 1
    return f"{value:.3g}\u00a0{units[place]}".strip() if value < 1000 else f"{value:,.0f}\u00a0{units[place]}".strip()


def duration(seconds: float) -> str:
    """E.g. "41 s", "6 min 12 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60:02d}\u00a0min"


def tokens_text(value: float) -> str:
    """E.g. "41.2 thousand"."""
    return quantity(value, ("", "thousand", "million", "billion"), 1000)


def flops_text(value: float) -> str:
    """E.g. "412 TFLOP"."""
    return quantity(value, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP"), 1000)


def bytes_text(value: float) -> str:
    """E.g. "2.31 GB"."""
    return quantity(value, ("B", "KB", "MB", "GB", "TB"), 1000)


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
    for phase, data in section(metrics, "cost").items():
        if isinstance(data, Mapping):
            values = [as_number(data.get(key)) for key, _, _ in COSTS]
            texts = ["—" if v is None else show(v) for v, (_, _, show) in zip(values, COSTS, strict=True)]
            rows.append((PHASES.get(phase, phase), texts))
    return rows


def facts(data: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Any JSON value as (name, text) lines; nested names are joined by " · "."""
    if isinstance(data, Mapping):
        return [
            line for key, value in data.items() for line in facts(value, f"{prefix} · {key}" if prefix else str(key))
        ]
    if isinstance(data, list):
        return [(prefix, ", ".join(map(str, data)))]
    return [(prefix, "not recorded" if data is None else str(data))]


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


def _bars(table: Table) -> list[Figure]:
    kinds = {
        ATTACKS: ("Attack success: harmful requests answered", "Share of unsafe answers per attack and model"),
        HARMLESS: ("Over-refusal: harmless requests refused", "Share of refusals per harmless suite and model"),
    }
    return [
        Figure(title, plots.bars(table.group(group), table.models, group.split()[0].lower(), label), "not measured")
        for group, (title, label) in kinds.items()
    ]


def environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("textunlearn", "report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    env.filters |= {"percent": percent, "number": number}
    return env


def render(run: RunFolder, *, show_unsafe: bool = False) -> str:
    """The page of ``run`` as HTML text."""
    from markupsafe import Markup

    from textunlearn.evaluation.second_opinion import sentences

    env = environment()
    table = read_table(run.metrics)
    titles = {row.suite: row.title for row in table.rows}
    # These three are the package's own files and matplotlib's escaped output: the only markup that is not escaped.
    script = env.get_template("cases.js.jinja").render().strip()
    style = env.get_template("report.css").render()
    bars, curves = _bars(table), _curves(run)
    svg = {figure.title: Markup(figure.svg) for figure in bars + curves}
    about = section(run.metrics, "run")
    guard = run.metrics.get("guard") or []
    return env.get_template("template.html.jinja").render(
        run=run,
        origin=about.get("model") or run.environment.get("model") or "not recorded",
        seed=about.get("seed", run.environment.get("seed", "not recorded")),
        title=about.get("title") or about.get("name") or run.path.resolve().name,
        table=table,
        alone=len(table.models) == 1,
        training=len(table.models) != 1 or bool(run.training) or bool(guard),
        finding=verdict(table),
        groups=tuple(dict.fromkeys(GROUPS.values())),
        names=NAMES,
        label_name=label_name,
        bars=bars,
        curves=curves,
        svg=svg,
        guard=[(row.get("step"), row.get("what")) for row in guard if isinstance(row, Mapping)],
        items=gallery(run, show_unsafe=show_unsafe),
        titles=titles,
        show_unsafe=show_unsafe,
        costs=cost_rows(run.metrics),
        cost_names=[name for _, name, _ in COSTS],
        facts=facts,
        not_measured=[str(line) for line in run.metrics.get("not_measured") or []],
        judge_error=facts(run.metrics["judge_error"]) if run.metrics.get("judge_error") else [],
        second_opinions=sentences(run.metrics.get("second_opinions") or [], run.judge),
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def write_report(run: Path, *, show_unsafe: bool = False) -> Path:
    """Write ``report.html`` into the run folder ``run`` and return its path.

    One file without any outside part. Parts that the folder lacks are named on the page.

    Args:
        show_unsafe: show harmful requests, their images and unsafe answers, which are redacted otherwise.

    UserError if ``run`` is no folder or one of its files is malformed.
    """
    page = run / NAME
    write_text(page, render(read_run(run), show_unsafe=show_unsafe))
    return page
