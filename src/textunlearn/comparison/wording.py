"""Figures inside a sentence: always with their interval, and n where it is a rate."""

from __future__ import annotations

from collections.abc import Sequence

from textunlearn.comparison.groups import ATTACKS
from textunlearn.comparison.pooled import Difference, Figure, Pooled
from textunlearn.comparison.summary import Row, Summary, best
from textunlearn.report.table import number, percent


def rate(value: Pooled | None, n: bool = False) -> str:
    """E.g. "3 % [1–8]", with ``n`` "3 % [1–8], n = 112"; the n is that of one seed."""
    if value is None:
        return "not measured"
    text = f"{percent(value.rate)} [{100 * value.low:.0f}–{100 * value.high:.0f}]"
    return f"{text}, n\u00a0=\u00a0{value.n}" if n else text


def mean(value: Figure | None, digits: int = 2, unit: str = "") -> str:
    """E.g. "1.04 [1.02–1.06]"; from one seed without interval."""
    if value is None:
        return "not measured"
    if value.mean == float("inf"):
        return "∞"
    text = number(value.mean, digits) + unit
    if value.low is None or value.high is None:
        return text
    return f"{text} [{number(value.low, digits)}–{number(value.high, digits)}]"


def points(value: Difference) -> str:
    """E.g. "+3 points [−1 to +7]"; an interval with 0 in it is called so."""
    ends = " to ".join(_signed(end) for end in (value.low, value.high))
    return f"{_signed(value.value)} points [{ends}]{'' if value.clear else ', within the intervals'}"


def _signed(share: float) -> str:
    text = f"{100 * share:+.1f}".replace("-", "−")
    return "0" if text.lstrip("+−") == "0.0" else text


def listing(words: Sequence[str]) -> str:
    """E.g. "a, b and c"; "none" for nothing."""
    words = list(words)
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else (words[0] if words else "none")


def seeds(count: int) -> str:
    return f"{count} seed" + "s" * (count != 1)


def measured(row: Row, *groups: str) -> str:
    """E.g. "n = 128 and 192 a seed, 3 seeds"."""
    sizes = [str(found.n) for group in groups if (found := row.rate(group))]
    return f"n\u00a0=\u00a0{listing(sizes)} a seed, {seeds(len(row.seeds))}"


def best_sentence(summary: Summary) -> str:
    """Which text-only method is best by the rule of `summary.best`, and its figures."""
    row = best(summary)
    if row is None:
        return "No text-only method could be called the best: each lacks a measure, or its answers broke."
    parts = [f"{group.inline} {rate(row.rate(group.key))}" for group in ATTACKS]
    harmless = f"harmless requests refused {rate(row.rate('harmless'))}"
    broken = f"broken {rate(row.groups['all'].get('broken'))}"
    return (
        f"Best text-only method: {row.title} ({measured(row, 'attacks', 'harmless')}). Unsafe answers: {', '.join(parts)}; "
        f"{harmless}; {broken}; perplexity {mean(row.figures.get('perplexity_ratio'))} times the original's. It was chosen on these "
        "same cases, which flatters it a little."
    )
