"""Figures inside a sentence: always with their interval, and n where it is a rate."""

from __future__ import annotations

from collections.abc import Sequence

from textunlearn.comparison.pooled import Difference, Figure, Pooled
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
