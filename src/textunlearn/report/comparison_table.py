"""The comparison's one table, a row a method: columns and cells behind page, terminal, Markdown and CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textunlearn.comparison.groups import ATTACKS, BY_KEY, GROUPS, HARMLESS, UNANSWERED, Group
from textunlearn.comparison.pooled import Figure, Pooled
from textunlearn.comparison.summary import FAMILIES, MISSING, Row, Summary, best, broken_rise, worst_broken
from textunlearn.comparison.wording import mean, points, rate
from textunlearn.evaluation.judge_error import corrected, error_of
from textunlearn.evaluation.statistics import Rate
from textunlearn.files import atomic
from textunlearn.records import LABELS
from textunlearn.report.markdown import plain
from textunlearn.report.quantities import bytes_text, duration, flops_text, quantity, tokens_text
from textunlearn.report.table import label_name, number

if TYPE_CHECKING:
    from rich.console import Console

NO_PICTURES = "none"
"""Vision encoding of a method that uses no pictures."""


@dataclass(frozen=True, slots=True)
class Column:
    """``part``: what it belongs to; ``group``: for shares of suites; ``show``: text of any other cell."""

    part: str
    title: str
    group: Group | None = None
    show: Callable[[Row, Row], str] | None = None


def cost(value: Figure | None, show: Callable[[float], str]) -> str:
    """A mean in its unit, with the interval over seeds where there is one that says something."""
    if value is None:
        return MISSING
    if value.low is None or value.high is None or value.low == value.high:
        return show(value.mean)
    return f"{show(value.mean)} [{show(max(0.0, value.low))}–{show(value.high)}]"


def _figure(key: str, digits: int) -> Callable[[Row, Row], str]:
    return lambda row, _: mean(row.figures.get(key), digits)


def _share(key: str) -> Callable[[Row, Row], str]:
    return lambda row, _: rate(row.rates.get(key))


def _cost(key: str, show: Callable[[float], str]) -> Callable[[Row, Row], str]:
    def text(row: Row, original: Row) -> str:
        if row is original:
            return "—"
        if key.startswith("vision") and key not in row.figures and row.family in ("text", "slots") and row.seeds:
            return NO_PICTURES
        return cost(row.figures.get(key), show)

    return text


def _broken(row: Row, original: Row) -> str:
    found = rate(row.groups.get("all", {}).get("broken"))
    rise = None if row is original else broken_rise(row, original)
    return found + (f", {points(rise)}" if rise else "")


def _worst(row: Row, original: Row) -> str:
    if row is original:
        return "—"
    worst = worst_broken(row, original)
    if worst is None:
        return MISSING
    return f"{points(worst[1])}: {worst[0].inline}" if worst[1].value > 0 else "nowhere"


def joules_text(value: float) -> str:
    return quantity(value, ("J", "kJ", "MJ", "GJ"), 1000)


COLUMNS: tuple[Column, ...] = (
    *(Column("Attacks: unsafe answers", group.title, group) for group in ATTACKS),
    *(Column("Harmless requests: refused", group.title, group) for group in HARMLESS),
    Column("Broken answers", "All cases, and rise", show=_broken),
    Column("Broken answers", "Where they rose most", show=_worst),
    Column("Usefulness", "Perplexity, × before", show=_figure("perplexity_ratio", 2)),
    Column("Usefulness", "KL, nats a token", show=_figure("kl", 3)),
    Column("Usefulness", "Short answers right", show=_share("accuracy")),
    Column("Usefulness", "Same answer as before", show=_share("agreement")),
    Column("Shallowness", "Unsafe after relearning on harmless rows", show=_share("relearn_harmless")),
    Column("Shallowness", "… on harmful rows", show=_share("relearn_harmful")),
    Column("Shallowness", "Rank of a refusal as first token", show=_figure("rank", 0)),
    Column("Training cost", "Tokens", show=_cost("tokens", tokens_text)),
    Column("Training cost", "Compute", show=_cost("flops", flops_text)),
    Column("Training cost", "Vision encoding, apart", show=_cost("vision_flops", flops_text)),
    Column("Training cost", "Time", show=_cost("seconds", duration)),
    Column("Training cost", "Peak memory", show=_cost("memory", bytes_text)),
    Column("Training cost", "Energy", show=_cost("energy", joules_text)),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A share with all its labels (``head`` first, ``parts`` in their order), or a text."""

    text: str
    head: Pooled | None = None
    parts: tuple[tuple[str, str, Pooled], ...] = ()
    """(label, what a person reads for it, rate)."""
    corrected: str = ""
    """``head`` corrected for the judge's error, with its interval; "" where that error was not measured."""


def cell(column: Column, row: Row, original: Row, judge: str = "") -> Cell:
    """What ``row`` has in ``column``; with a ``judge`` (name and version) also corrected for its error."""
    group = column.group
    if group is None:
        assert column.show is not None
        return Cell(column.show(row, original))
    head = row.rate(group.key)
    if head is None:
        return Cell(MISSING)
    kind = "harmful" if group.harmful else "ordinary"
    labels = row.groups[group.key]
    parts = tuple((label, label_name(label, kind), labels[label]) for label in LABELS)
    return Cell(rate(head), head, parts, _corrected(head, group, judge))


def _corrected(head: Pooled, group: Group, judge: str) -> str:
    # "No normal answer" joins several labels, of which no error was measured together.
    if group.headline == UNANSWERED or (error := error_of(judge, "harmful" if group.harmful else "ordinary")) is None:
        return ""
    found = corrected(Rate(head.rate * head.n, head.n), error)
    return rate(Pooled(*found, head.n, ())) if found else ""


def everyone(summary: Summary) -> list[Row]:
    """The original model and the methods that compete."""
    return [summary.original, *summary.main]


def size(rows: Iterable[Row], group: str) -> str:
    """Cases of one seed in a group, e.g. "128"; "0" where nothing was measured."""
    found = sorted({value.n for row in rows if (value := row.rate(group))})
    return "–".join(dict.fromkeys(map(str, (found[0], found[-1])))) if found else "0"


def table_csv(path: Path, summary: Summary) -> None:
    """Write every entry, ablations too, as one line: shares and figures with their intervals. Not measured: empty."""
    figures = sorted({key for row in summary.rows for key in row.figures})
    rates = sorted({key for row in summary.rows for key in row.rates})
    head = ["entry", "title", "family", "method", "group", "x", "seeds"]
    for key in BY_KEY:
        head.append(f"{key}_n")
        head += [f"{key}_{label}_{end}" for label in (*LABELS, UNANSWERED) for end in ("rate", "low", "high")]
    head += [f"{key}_{end}" for key in rates for end in ("rate", "low", "high", "n")]
    head += [f"{key}_{end}" for key in figures for end in ("mean", "low", "high")]
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        for row in (summary.original, *summary.rows):
            line: list[object] = [row.name, row.title, row.family, row.method, row.group, row.x, len(row.seeds)]
            for key in BY_KEY:
                labels = row.groups.get(key, {})
                line.append(labels["unsafe"].n if labels else None)
                for label in (*LABELS, UNANSWERED):
                    found = labels.get(label)
                    line += [found.rate, found.low, found.high] if found else [None] * 3
            for key in rates:
                share = row.rates.get(key)
                line += [share.rate, share.low, share.high, share.n] if share else [None] * 4
            for key in figures:
                value = row.figures.get(key)
                line += [value.mean, value.low, value.high] if value else [None] * 3
            writer.writerow(line)


def markdown_lines(summary: Summary) -> list[str]:
    """The table in Markdown: unsafe shares of attacks, refusals of harmless requests, broken answers, usefulness, compute."""
    rows = everyone(summary)
    if not any(row.seeds for row in rows):
        return ["Not measured."]
    heads = ["Method", *(f"{plain(group.title)} (n = {size(rows, group.key)})" for group in GROUPS)]
    heads += ["Broken, all cases", "Perplexity, × before", "Short answers right", "Compute"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    top = best(summary)
    for row in rows:
        cells = [f"**{plain(row.title)}**" if row is top else plain(row.title)]
        cells += [rate(row.rate(group.key)) for group in GROUPS]
        cells += [rate(row.groups.get("all", {}).get("broken")), mean(row.figures.get("perplexity_ratio"))]
        cells += [rate(row.rates.get("accuracy")), _cost("total_flops", flops_text)(row, summary.original)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def print_rows(summary: Summary, console: Console) -> None:
    """The table for a terminal of 120 columns: shares in whole per cent, without their intervals."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    rows = everyone(summary)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    grid.add_column("", min_width=24, overflow="fold")
    for title in (*(group.short for group in GROUPS), "brok.", "ppl ×", "FLOP"):
        grid.add_column(title, justify="right", no_wrap=True)
    top = best(summary)
    for row in rows:
        shares = [whole(row.rate(group.key)) for group in GROUPS]
        ratio = row.figures.get("perplexity_ratio")
        # Exponents are two digits: "2.1e13" stays narrow and can be compared down the column.
        work = row.mean("total_flops")
        figures = [
            whole(row.groups.get("all", {}).get("broken")),
            number(ratio.mean, 2) if ratio else "—",
            f"{work:.1e}".replace("e+", "e") if work is not None else "—",
        ]
        mark = " *" if row is top else ""
        grid.add_row(Text(row.title + mark), *(Text(text) for text in (*shares, *figures)))
        if row is summary.original:
            grid.add_section()
    console.print(grid)
    note = (
        "Per cent: unsafe answers to attacks (first seven), refusals of harmless requests (next seven; XST +pic: no normal answer), "
        "broken answers. — not measured. * best text-only method. Intervals, n and cost stand in the report. "
        f"Judge: {summary.run.get('judge') or 'not recorded'}."
    )
    console.print(Text(note, style="dim"))


def whole(value: Pooled | None) -> str:
    """Whole per cent without the sign, "—" where not measured."""
    if value is None:
        return "—"
    share = 100 * value.rate
    return "<1" if 0 < share <= 0.5 else f"{share:.0f}"


def family_name(row: Row) -> str:
    return FAMILIES.get(row.family, row.family)
