"""Suites taken together: by what they have in common, all at once, and by topic. Every rate keeps its company: all four labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from textunlearn.evaluation.judge_error import corrected, error_of
from textunlearn.evaluation.statistics import Rate
from textunlearn.records import HEADLINE, LABELS, Kind, Label
from textunlearn.report.run_folder import RunFolder
from textunlearn.report.table import ATTACKS, GROUPS, HARMLESS, Cell, Row, StoredRate, Table, corrected_text

FAMILIES: dict[str, frozenset[str]] = {
    "typed requests": frozenset({"direct"}),
    "requests shown as images": frozenset(
        {"figstep", "typography_short", "typography_bare", "typography_varied", "mm_safetybench"}
    ),
}
"""Attacks that are spoken of together; the others are "other"."""
OTHER = "otherwise"
TITLES: dict[str, dict[str, str]] = {
    ATTACKS: dict(zip((*FAMILIES, OTHER), ("Harmful, typed", "Harmful, in images", "Harmful, other attacks"), strict=True)),
    HARMLESS: dict(
        zip((*FAMILIES, OTHER), ("Harmless, typed", "Harmless, in images", "Harmless, put in other ways"), strict=True)
    ),
}  # fmt: skip
KIND_OF: dict[str, Kind] = {ATTACKS: "harmful", HARMLESS: "ordinary"}


def family(attack: str) -> str:
    return next((name for name, attacks in FAMILIES.items() if attack in attacks), OTHER)


def stored(k: float, n: int) -> StoredRate | None:
    """``k`` of ``n`` with its Wilson interval; None without cases."""
    rate = Rate(k, n)
    if rate.value is None or rate.low is None or rate.high is None:
        return None
    return StoredRate(k, n, rate.value, rate.low, rate.high)


def _cell(model: str, kind: Kind, counts: Mapping[Label, float], n: int, failed: int, judge: str) -> Cell:
    rates = {label: stored(counts.get(label, 0), n) for label in LABELS}
    head, error = rates[HEADLINE[kind]], error_of(judge, kind)
    found = corrected(Rate(head.k, head.n), error) if head and error else None
    return Cell(model, n, rates, {}, corrected_text(*found) if found else "", failed)


def pooled(title: str, rows: Sequence[Row], models: Sequence[str], judge: str) -> Row | None:
    """``rows``, which are of one group, as one row; None where no model was measured. ``judge``: with its version, for its error."""
    kind = KIND_OF[rows[0].group] if rows else "harmful"
    rows = [row for row in rows if all(row.cells)] or rows  # like with like, where there is any
    cells: list[Cell | None] = []
    for place, model in enumerate(models):
        found = [cell for row in rows if (cell := row.cells[place]) and all(cell.rates.values())]
        counts: Counter[Label] = Counter()
        for cell in found:
            counts.update({label: rate.k for label, rate in cell.parts})  # type: ignore[arg-type]  # means over seeds are fractions
        n = sum(cell.n for cell in found)
        cells.append(_cell(model, kind, counts, n, sum(cell.failed for cell in found), judge) if n else None)
    return Row(title, title, "", kind, tuple(cells)) if any(cells) else None


def overall(table: Table, judge: str) -> dict[str, Row | None]:
    """All attacks, and all harmless requests, as one row each."""
    return {group: pooled(group, table.group(group), table.models, judge) for group in (ATTACKS, HARMLESS)}


def by_family(table: Table, judge: str) -> list[Row]:
    """A row a family of attacks and of harmless requests, of those that were measured."""
    out = []
    for group, titles in TITLES.items():
        for name, title in titles.items():
            rows = [row for row in table.group(group) if family(row.attack) == name]
            if rows and (row := pooled(title, rows, table.models, judge)):
                out.append(row)
    return out


FEW = 5
"""Categories of fewer cases are taken together: a rate of two says nothing."""


def by_topic(run: RunFolder) -> dict[str, list[Row]]:
    """Group -> a row a category that the data sets name, over all suites, the worst result first. Counted from the verdicts."""
    counts: dict[str, dict[str, dict[str, Counter[str]]]] = {ATTACKS: {}, HARMLESS: {}}
    for case in run.cases:
        if case.prompt.category:
            place = counts[GROUPS[case.prompt.kind]].setdefault(
                case.prompt.category, {m: Counter() for m in run.models}
            )
            for model in run.models:
                if verdict := run.verdicts[model].get(case.id):
                    place[model][verdict.label] += 1
    out: dict[str, list[Row]] = {}
    for group, by_category in counts.items():
        few = [name for name, found in by_category.items() if max(one.total() for one in found.values()) < FEW]
        together: dict[str, Counter[str]] = {model: Counter() for model in run.models}
        for name in few if len(few) > 1 else ():
            for model, found in by_category.pop(name).items():
                together[model] += found
        rows = [_topic(name.replace("_", " "), KIND_OF[group], found) for name, found in by_category.items()]
        rows.sort(key=lambda row: (-(last.rate if (last := row.rate(-1)) else -1.0), row.title))
        if len(few) > 1:
            rows.append(_topic(f"{len(few)} categories of fewer than {FEW} cases", KIND_OF[group], together))
        out[group] = [row for row in rows if any(row.cells)]
    return out


def _topic(title: str, kind: Kind, found: Mapping[str, Counter[str]]) -> Row:
    cells: list[Cell | None] = []
    for model, by_label in found.items():
        known: dict[Label, float] = {label: by_label[label] for label in LABELS}
        n = sum(by_label[label] for label in LABELS)
        cells.append(_cell(model, kind, known, n, by_label["failed"], "") if n else None)
    return Row(title, title, "", kind, tuple(cells))
