"""Rates with intervals, means over seeds, paired tests, and correction for a judge's known error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from textunlearn.errors import UserError

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """``k`` of ``n``, with the Wilson score interval at 95 % (None everywhere when n is 0).

    ``k`` may be a fraction (a mean count over runs). ValueError unless 0 <= k <= n.
    """

    k: float
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.k <= self.n:
            raise ValueError(f"a rate needs 0 <= k <= n, not {self.k} of {self.n}")

    @property
    def value(self) -> float | None:
        """k / n, from 0 to 1."""
        return self.k / self.n if self.n else None

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return self._interval()[0]

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return self._interval()[1]

    def _interval(self) -> tuple[float | None, float | None]:
        if not self.n:
            return None, None
        from statsmodels.stats.proportion import proportion_confint

        low, high = proportion_confint(self.k, self.n, alpha=1 - CONFIDENCE, method="wilson")
        # Rounding can put the ends a hair outside the rate at 0 and n.
        return (0.0 if self.k == 0 else float(low)), (1.0 if self.k == self.n else float(high))

    def to_json(self) -> dict[str, float | int | None]:
        """k, n, rate, low, high."""
        low, high = self._interval()
        return {"k": self.k, "n": self.n, "rate": self.value, "low": low, "high": high}


def at_one_run(k: float, n: int, runs: int) -> Rate:
    """``k`` of ``n`` over ``runs`` runs as a rate at the n of *one*, for its interval: runs share their prompts, so three of
    them are not three times the prompts."""
    one = n // runs
    return Rate(min(one, k * one / n) if n else 0, one)


def mean_over_seeds(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean and 95 % t interval (n - 1 degrees of freedom) of one value a seed; no interval (None) from a single seed.

    ValueError without values.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    from statistics import fmean, stdev

    mean = fmean(values)
    if len(values) == 1:
        return mean, None, None
    from scipy.stats import t

    half = float(t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half


@dataclass(frozen=True, slots=True)
class Paired:
    """McNemar's exact test over pairs of yes/no: how many went each way, and the two-sided p value."""

    gained: int
    """No before, yes after."""
    lost: int
    """Yes before, no after."""
    same: int
    p: float


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Exact (binomial) McNemar test on the same cases before and after. ValueError when the lengths differ."""
    from statsmodels.stats.contingency_tables import mcnemar as test

    pairs = list(zip(before, after, strict=True))
    gained = sum(b and not a for a, b in pairs)
    lost = sum(a and not b for a, b in pairs)
    yes, no = sum(a and b for a, b in pairs), sum(not a and not b for a, b in pairs)
    # Without a single change the test says p = 1 (statsmodels divides by nothing and says so in a warning).
    p = float(test([[yes, lost], [gained, no]], exact=True).pvalue) if gained + lost else 1.0
    return Paired(gained, lost, yes + no, min(1.0, p))


def kappa(counts: Mapping[tuple[str, str], int]) -> float | None:
    """Cohen's kappa of two readers: (label of the first, label of the second) -> how many answers. 1 at best; None without answers, or
    where chance alone would always agree."""
    n = sum(counts.values())
    if not n:
        return None
    ones, others = Counter[str](), Counter[str]()
    for (a, b), k in counts.items():
        ones[a] += k
        others[b] += k
    seen = sum(k for (a, b), k in counts.items() if a == b) / n
    chance = sum(k * others[label] for label, k in ones.items()) / n**2
    return None if chance == 1 else (seen - chance) / (1 - chance)


def kappa_interval(counts: Mapping[tuple[str, str], int], draws: int = 4000) -> tuple[float, float] | None:
    """95 % percentile bootstrap of kappa over answers (seeded); None where kappa is, or where most draws have none."""
    if kappa(counts) is None:
        return None
    import numpy as np

    numbers = np.array(list(counts.values()))
    drawn = np.random.default_rng(0).multinomial(numbers.sum(), numbers / numbers.sum(), size=draws)
    found = [k for row in drawn.tolist() if (k := kappa(dict(zip(counts, row, strict=True)))) is not None]
    if len(found) < draws / 2:
        return None
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of several p values (Scand. J. Stat. 6 (1979) 65-70), in their order."""
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), alpha=1 - CONFIDENCE, method="holm")[1]]


@dataclass(frozen=True, slots=True)
class Size:
    """Prompts needed to tell two rates apart.

    Attributes:
        separate: prompts for each model, where the two see different prompts.
        paired: prompts that both see, where ``agreement`` of the cases come out alike beyond chance.
        alone: prompts at which the first rate's own 95 % interval is no wider than the difference to either side.
    """

    separate: int
    paired: int
    alone: int


def sample_size(first: float, second: float, *, power: float = 0.8, agreement: float = 0.5) -> Size:
    """How many prompts tell the rate ``first`` from ``second`` (two-sided, 95 %), with probability ``power``.

    Separate prompts: the normal approximation with the continuity correction of Fleiss, Tytun and Ury 1980 (Biometrics 36, 343-346),
    which makes it hold for exact tests too. Paired: Connor 1987 (Biometrics 43, 207-211) for McNemar's test; the share of
    cases on which the models differ lies between its least value, |first - second|, and what independence would give;
    ``agreement`` (0 to 1) says where: 1 is the least.

    UserError unless both rates lie within 0 and 1 and differ, and power and agreement are probabilities that make sense.
    """
    from math import ceil, sqrt

    from scipy.stats import norm

    gap = abs(first - second)
    if not (0 <= first <= 1 and 0 <= second <= 1) or not gap:
        raise UserError(f"two different rates between 0 and 1 are needed, not {first:g} and {second:g}")
    if not 0.5 <= power < 1 or not 0 <= agreement <= 1:
        raise UserError(
            f"power must lie between 0.5 and 1 and agreement between 0 and 1, not {power:g} and {agreement:g}"
        )
    alpha, beta = float(norm.ppf(0.5 + CONFIDENCE / 2)), float(norm.ppf(power))
    mean = (first + second) / 2
    spread = sqrt(first * (1 - first) + second * (1 - second))
    plain = (alpha * sqrt(2 * mean * (1 - mean)) + beta * spread) ** 2 / gap**2
    separate = plain / 4 * (1 + sqrt(1 + 4 / (plain * gap))) ** 2
    apart = first * (1 - second) + second * (1 - first)
    differ = gap + (apart - gap) * (1 - agreement)
    paired = (alpha * sqrt(differ) + beta * sqrt(max(0.0, differ - gap**2))) ** 2 / gap**2
    alone = next(n for n in _sizes() if _half_width(first, n) <= gap)
    return Size(ceil(separate), ceil(paired), alone)


def _sizes() -> Iterator[int]:
    yield from range(2, 200)
    yield from (round(200 * 1.01**step) for step in range(2000))


def _half_width(rate: float, n: int) -> float:
    interval = Rate(rate * n, n)
    low, high = interval.low, interval.high
    assert low is not None and high is not None
    return max(high - rate, rate - low)


def rogan_gladen(rate: float, sensitivity: float, specificity: float) -> float:
    """The true rate behind an apparent ``rate`` seen through a judge of known error, held within 0 and 1.

    (rate + specificity - 1) / (sensitivity + specificity - 1): Rogan & Gladen, Am. J. Epidemiol. 107 (1978) 71-76.
    UserError for a judge no better than chance (sensitivity + specificity <= 1).
    """
    gain = sensitivity + specificity - 1
    if gain <= 0:
        raise UserError(
            f"a judge of sensitivity {sensitivity:.2f} and specificity {specificity:.2f} tells nothing; use another"
        )
    return min(1.0, max(0.0, (rate + specificity - 1) / gain))
