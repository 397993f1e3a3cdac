"""The comparison's page, terminal table, Markdown and CSV. Reads comparison.json; measures nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.comparison import NAME
from textunlearn.comparison.claims import FAILS, HOLDS, OPEN, claims
from textunlearn.comparison.geometry import cost_table
from textunlearn.comparison.groups import GROUPS
from textunlearn.comparison.pooled import Pooled
from textunlearn.comparison.summary import Row, Summary, best, collapsed, front, summarise, textual
from textunlearn.comparison.wording import best_sentence, listing, mean, rate
from textunlearn.evaluation.judge_error import described
from textunlearn.files import read_json, write_text
from textunlearn.report import plots
from textunlearn.report.comparison_plots import Bar, Point, cost_bars, over_x, scatter
from textunlearn.report.comparison_table import (
    COLUMNS,
    cell,
    everyone,
    family_name,
    markdown_lines,
    print_rows,
    size,
    table_csv,
)
from textunlearn.report.quantities import duration, flops_text
from textunlearn.report.run_folder import Series
from textunlearn.report.sections.result import error_sentence
from textunlearn.report.shell import Figure, Link, environment, render_page

if TYPE_CHECKING:
    from rich.console import Console

PAGE, CSV = "comparison.html", "comparison.csv"
LINES = 6
"""Lines in a figure of curves at most: it has as many colours."""
LEGEND = 22
"""Letters of a line's name."""


def write_comparison(out: Path) -> Path:
    """Write comparison.html and comparison.csv beside the comparison.json in the folder ``out``; returns the page's path.

    UserError where comparison.json is missing or damaged.
    """
    summary = summarise(read_json(out / NAME))
    table_csv(out / CSV, summary)
    write_text(out / PAGE, render(summary))
    return out / PAGE


def print_comparison(data: Mapping[str, Any], console: Console) -> None:
    """Print the table, the best text-only method and the verdicts of ``data`` (the content of comparison.json); 120 columns."""
    from rich.text import Text

    summary = summarise(data)
    print_rows(summary, console)
    console.print(Text(best_sentence(summary)))
    colours = {HOLDS: "green", FAILS: "red", OPEN: "yellow"}
    for claim in claims(summary):
        console.print(Text.assemble((f"{claim.title}: ", "bold"), (claim.verdict, colours[claim.verdict])))


def markdown_comparison(data: Mapping[str, Any]) -> str:
    """The table of ``data`` in Markdown, with one line on how to read it, for README and documentation."""
    summary = summarise(data)
    run = summary.run
    note = (
        f"Attacks: unsafe answers; harmless requests: refused (beside a picture: no normal answer). Per cent [95 % interval] at "
        f"the n of one seed; {len(run.get('seeds') or [])} seed(s); judge: {run.get('judge') or 'not recorded'}. "
        f"Bold: best text-only method. Made by `{run.get('command') or 'textunlearn compare'}`."
    )
    return "\n".join([*markdown_lines(summary), "", note]) + "\n"


@dataclass(frozen=True, slots=True)
class Ablation:
    """``rows``: (title, x, texts in the order of ABLATION)."""

    title: str
    figure: Figure
    rows: list[tuple[str, str, list[str]]]
    heads: list[str]


ABLATION = ("direct", "typography", "xstest", "xstest_image", "ordinary")


def _ablations(summary: Summary) -> list[Ablation]:
    out = []
    for place, (title, rows) in enumerate(summary.ablations.items()):
        measured = {
            "typed attacks": lambda row: row.rate("direct"),
            "typographic attacks": lambda row: row.rate("typography"),
            "harmless refused": lambda row: row.rate("harmless"),
            "broken": lambda row: row.groups.get("all", {}).get("broken"),
            "inside the topics": lambda row: row.rates.get("coverage_inside"),
            "outside them": lambda row: row.rates.get("coverage_outside"),
        }
        lines: list[tuple[str, list[tuple[float, Pooled]]]] = []
        for name, get in measured.items():
            found = sorted((row.x, value) for row in rows if row.x is not None and (value := get(row)))
            lines.append((name, found))
        figure = Figure(
            f"{title}: shares over its values",
            over_x(lines, f"ablation{place}", f"Shares of answers over {title}", title),
            "its entries have no values to be drawn over, or fewer than two were measured",
        )
        groups = [group for group in GROUPS if group.key in ABLATION]
        inside = any("coverage_inside" in row.rates for row in rows)
        heads = [group.title for group in groups] + ["Broken", "Perplexity, × before", "KL"]
        heads += ["Typed, topics trained on", "Typed, other topics"] if inside else []
        table = []
        for row in rows:
            texts = [rate(row.rate(group.key)) for group in groups]
            texts += [rate(row.groups.get("all", {}).get("broken"))]
            texts += [mean(row.figures.get("perplexity_ratio")), mean(row.figures.get("kl"), 3)]
            texts += [rate(row.rates.get(f"coverage_{side}")) for side in ("inside", "outside")] if inside else []
            table.append((row.title, "" if row.x is None else f"{row.x:g}", texts))
        out.append(Ablation(title, figure, table, heads))
    return out


def _points(summary: Summary, over: str) -> list[Point]:
    on_front = front(summary, "harmless" if over == "harmless" else "perplexity_ratio")
    out = []
    for place, row in enumerate(everyone(summary)):
        attack, share, ratio = row.rate("attacks"), row.rate("harmless"), row.figures.get("perplexity_ratio")
        y: tuple[float, float | None, float | None] | None = None
        if over == "harmless" and share:
            y = (share.rate, share.low, share.high)
        elif over != "harmless" and (ratio or row is summary.original):
            y = (ratio.mean, ratio.low, ratio.high) if ratio else (1.0, None, None)
        if attack and y:
            broke = bool(place) and collapsed(row, summary.original) is True
            out.append(Point(str(place), attack, y, row.family, broke, row.name in on_front))
    return out


def _scatters(summary: Summary) -> list[Figure]:
    drawn = {
        "Attack success against over-refusal": ("harmless", "harmless requests refused", True),
        "Attack success against perplexity": ("perplexity_ratio", "perplexity, × the original's", False),
    }
    return [
        Figure(
            title,
            scatter(
                _points(summary, over),
                f"scatter-{over}",
                title,
                ("unsafe answers, all attacks (square-root axis)", y_title),
                share=share,
            ),
            "not measured",
        )
        for title, (over, y_title, share) in drawn.items()
    ]


def _chosen(summary: Summary) -> list[Row]:
    """The original, textual unlearning, and the best of each family: as many as a figure has colours."""
    tops = (best(summary, (family,)) for family in ("text", "slots", "pictures"))
    rows = [summary.original, *textual(summary), *(row for row in tops if row)]
    return list({row.name: row for row in rows}.values())[:LINES]


def _brief(summary: Summary, row: Row) -> str:
    """A row's number in the table and the entry's name, which is short enough for a legend; ablations have no number."""
    place = {one.name: number_ for number_, one in enumerate(everyone(summary))}.get(row.name)
    text = row.name if place is None else f"{place} · {row.name}"
    return text if len(text) <= LEGEND else text[: LEGEND - 1].rstrip() + "…"


def _curves(summary: Summary) -> tuple[list[Figure], list[Figure]]:
    """(relearning, collapse)."""
    relearning = []
    for kind, rows in (("harmless", "harmless rows"), ("harmful", "a few harmful rows")):
        points = [(_brief(summary, row), row.relearning[kind]) for row in _chosen(summary) if kind in row.relearning]
        title = f"Unsafe answers over steps of fine-tuning on {rows}"
        relearning.append(
            Figure(title, over_x(points, f"relearn-{kind}", title, "steps of fine-tuning"), "not measured")
        )
    collapse = []
    rows_ = textual(summary)
    rows_ += [row for row in summary.rows if row.family == "text" and row.method in {r.method for r in rows_}]
    titles = {
        "broken": "Broken answers to held-out prompts, over training",
        "kl": "KL to the original, nats a token",
        "harm_nll": "Negative log-likelihood of harmful answers, nats a token",
    }
    for key, title in titles.items():
        lines = [
            Series(_brief(summary, row), tuple(step for step, _ in logged), tuple(value for _, value in logged))
            for row in list({row.name: row for row in rows_}.values())[:LINES]
            if (logged := row.curves.get(key))
        ]
        figure = plots.curves(lines, f"collapse-{key}", f"{title}: curves over steps", share=key == "broken")
        collapse.append(Figure(title, figure, "not logged"))
    return relearning, collapse


def _bars(summary: Summary) -> list[Figure]:
    out = []
    shown = {"flops": ("Compute of training", flops_text), "seconds": ("Time of training", duration)}
    for key, (title, show) in shown.items():
        bars = [
            Bar(row.title, (row.mean(key), row.mean(f"vision_{key}")), row.family) for row in summary.main if row.seeds
        ]
        out.append(Figure(title, cost_bars(bars, f"cost-{key}", f"{title} by method", show), "not measured"))
    return out


@dataclass(frozen=True, slots=True)
class Heat:
    """The heat map: ``suites`` (title) and for each row its (title, cells); a cell is (unsafe, broken) or None."""

    suites: list[str]
    rows: list[tuple[str, list[tuple[Pooled, Pooled] | None]]]


def heat(summary: Summary) -> Heat:
    """Unsafe answers by method and attack, every harmful suite for itself."""
    from textunlearn.evaluation.suites import SUITES

    rows = everyone(summary)
    names = [name for name in SUITES if any(row.kinds.get(name) == "harmful" for row in rows)]
    names += [n for row in rows for n, kind in row.kinds.items() if kind == "harmful" and n not in names]
    names = list(dict.fromkeys(names))
    known = {str(key): str(value) for key, value in (summary.run.get("titles") or {}).items()}
    titles = [known.get(name) or (SUITES[name].title if name in SUITES else name) for name in names]

    def cells(row: Row) -> list[tuple[Pooled, Pooled] | None]:
        found = [row.suites.get(name) for name in names]
        return [(labels["unsafe"], labels["broken"]) if labels else None for labels in found]

    short = [title.removeprefix("Harmful, ").replace("test split", "test") for title in titles]
    return Heat([title[:1].upper() + title[1:] for title in short], [(row.title, cells(row)) for row in rows])


def gaps(summary: Summary) -> list[str]:
    """What was not measured, a sentence each."""
    out = list(summary.missing)
    rows = [row for row in summary.rows if row.seeds]
    if absent := [row.title for row in summary.rows if not row.seeds]:
        out.append(f"No run is done of {listing(absent)}.")
    wanted = len(summary.run.get("seeds") or [])
    if fewer := [f"{row.title} ({len(row.seeds)} of {wanted})" for row in rows if len(row.seeds) < wanted]:
        out.append(f"Fewer seeds than the others have: {listing(fewer)}.")
    if wanted == 1:
        out.append(
            "One seed alone: how another would have come out is not known, and figures other than shares have no interval."
        )
    if not summary.original.groups:
        out.append("The original model: none of its answers.")
    known = {name for row in (summary.original, *rows) for name in row.suites}
    for group in GROUPS:
        if missing := [suite for suite in group.suites if suite not in known]:
            out.append(f"{group.title}: the suites {listing(missing)}." if known else f"{group.title}.")
    for row in rows:
        if lacking := sorted(known - set(row.suites)):
            out.append(f"{row.title}: the suites {listing(lacking)}.")
    main = [row for row in summary.main if row.seeds]
    measures = {
        "Perplexity": ("perplexity_ratio", True),
        "KL to the original": ("kl", True),
        "Short answers": ("accuracy", False),
        "Agreement with the original's answers": ("agreement", False),
        "Relearning on harmless rows": ("relearn_harmless", False),
        "Relearning on harmful rows": ("relearn_harmful", False),
        "Rank of a refusal among first tokens": ("rank", True),
        "FLOPs of training": ("flops", True),
        "Peak memory": ("memory", True),
        "Energy (the machine reports none, or it was not read)": ("energy", True),
    }
    for title, (key, is_figure) in measures.items():
        lacking = [row.title for row in main if key not in (row.figures if is_figure else row.rates)]
        if lacking:
            out.append(f"{title}: of {'any method' if len(lacking) == len(main) else listing(lacking)}.")
    if pictured := [row.title for row in main if row.family == "pictures" and "vision_flops" not in row.figures]:
        out.append(f"FLOPs of vision encoding: of {listing(pictured)}.")
    return out


def headline(summary: Summary) -> str:
    """The page's first sentence: the best text-only method, and what became of the claims."""
    found = [claim.verdict for claim in claims(summary)]
    said = {HOLDS: "hold{}", FAILS: "do{} not hold", OPEN: "{} not testable here"}
    ends = {HOLDS: ("s", ""), FAILS: ("es", ""), OPEN: ("is", "are")}
    counts = [(found.count(verdict), verdict) for verdict in said]
    parts = [f"{n} {said[v].format(ends[v][n != 1])}" for n, v in counts if n]
    row = best(summary)
    first = f"Best text-only method: {row.title}." if row else "No text-only method could be called the best."
    return f"{first} Of {len(found)} claims {listing(parts)}."


PARTS = {
    "best": "Best", "claims": "Claims", "table": "Table", "attacks": "Attacks", "trade": "Trade-offs", "shallow": "Relearning",
    "collapse": "Collapse", "ablations": "Ablations", "cost": "Cost", "gaps": "Not measured", "made": "How it was made",
    "limits": "Limits",
}  # fmt: skip
"""The page's sections and their links."""
BRIEF = ("Broken answers", "Usefulness")
"""Columns that stand beside the shares in the first table, by their part."""


def render(summary: Summary) -> str:
    """The page as HTML text."""
    env = environment()
    env.filters |= {"flops": flops_text}
    relearning, collapse = _curves(summary)
    rows, top, original = everyone(summary), best(summary), summary.original
    parts: dict[str, int] = {}
    for column in COLUMNS:
        parts[column.part] = parts.get(column.part, 0) + 1
    run = summary.run
    judge = str(run.get("judge") or "")
    pair = [row for row in (original, top) if row and row.groups]
    return render_page(
        env,
        "comparison.html.jinja",
        styles=["comparison.css"],
        scripts=[],
        sort="comparison",
        footer=f"Made by textunlearn from {NAME}.",
        links=[Link(name, title) for name, title in PARTS.items() if name != "best" or pair],
        run=run,
        title=run.get("title") or run.get("name") or "Comparison of methods",
        headline=headline(summary),
        best=best_sentence(summary),
        top=top,
        pair=pair,
        brief=[column for column in COLUMNS if column.group or column.part in BRIEF],
        claims=claims(summary),
        classes={HOLDS: "holds", FAILS: "fails", OPEN: "open"},
        states={HOLDS: "met", FAILS: "missed", OPEN: "open"},
        rows=rows,
        original=original,
        measured=any(row.seeds for row in rows),
        columns=COLUMNS,
        parts=parts,
        cell=partial(cell, judge=judge),
        judge_error=described(judge),
        judge_sentence=error_sentence(judge),
        size=lambda group: size(rows, group),
        family_name=family_name,
        collapsed=lambda row: row is not original and collapsed(row, original) is True,
        heat=heat(summary),
        scatters=_scatters(summary),
        relearning=relearning,
        collapse=collapse,
        ablations=_ablations(summary),
        bars=_bars(summary),
        geometry=cost_table(summary.lengths),
        lengths=summary.lengths,
        guards=[(row.title, seed, events) for row in summary.rows for seed, events in row.guard.items()],
        gaps=gaps(summary),
        rate=rate,
    )
