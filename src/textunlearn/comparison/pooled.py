"""What several seeds say together: pooled rates, means, differences between rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textunlearn.evaluation.statistics import at_one_run, mean_over_seeds
from textunlearn.report.run_folder import as_number


@dataclass(frozen=True, slots=True)
class Pooled:
    """A rate over suites and seeds. ``n``: cases of one seed, at which the interval is; ``seeds``: each seed's rate."""

    rate: float
    low: float
    high: float
    n: int
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over seeds with its 95 % t interval (None from one seed, or where it is infinite)."""

    mean: float
    low: float | None
    high: float | None
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One rate less another, with Newcombe's 95 % interval: from the two Wilson intervals, as if the cases were unrelated."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def difference(a: Pooled, b: Pooled) -> Difference:
    """``a`` less ``b`` (Newcombe, Stat. Med. 17 (1998) 873-890, method 10)."""
    value = a.rate - b.rate
    low = value - math.hypot(a.rate - a.low, b.high - b.rate)
    high = value + math.hypot(a.high - a.rate, b.rate - b.low)
    return Difference(value, low, high)


def pool(rates: Sequence[Mapping[str, Any]]) -> Pooled | None:
    """One rate from each seed's ``{"k", "n"}``; None without cases. The rule of `evaluation.metrics.average_runs`."""
    rates = [rate for rate in rates if rate.get("n")]
    if not rates:
        return None
    k, n = sum(rate["k"] for rate in rates), sum(rate["n"] for rate in rates)
    interval = at_one_run(k, n, len(rates))
    low, high = interval.low, interval.high
    assert low is not None and high is not None
    return Pooled(k / n, low, high, interval.n, tuple(rate["k"] / rate["n"] for rate in rates))


def figure(values: Iterable[Any]) -> Figure | None:
    """Mean over the seeds that have a number; None if none has."""
    values = list(values)
    infinite = [value for value in values if isinstance(value, float) and math.isinf(value)]
    numbers = tuple(number for value in values if (number := as_number(value)) is not None)
    if infinite:
        return Figure(infinite[0], None, None, (*numbers, *infinite))
    return Figure(*mean_over_seeds(numbers), numbers) if numbers else None
