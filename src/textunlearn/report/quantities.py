"""Quantities as a person reads them: times, tokens, compute, memory; and any JSON value as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


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


def facts(data: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Any JSON value as (name, text) lines; nested names are joined by " · "."""
    if isinstance(data, Mapping):
        return [
            line for key, value in data.items() for line in facts(value, f"{prefix} · {key}" if prefix else str(key))
        ]
    if isinstance(data, list):
        return [(prefix, ", ".join(map(str, data)))]
    return [(prefix, "not recorded" if data is None else str(data))]
