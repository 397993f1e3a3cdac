"""A judge's measured error beside its rates: what was measured of it, and rates corrected for that (shown beside the raw ones).

The measurement ships (`judges/measured.json`, made by ``benchmarks/judge_error.py``). A corrected rate assumes that the answers are like
those that the judge was measured on; its interval carries the uncertainty of the rate and of the judge's own error.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import textunlearn
from textunlearn.evaluation.metrics import SuiteRow
from textunlearn.evaluation.statistics import CONFIDENCE, Rate, rogan_gladen
from textunlearn.records import HEADLINE, Kind

MEASURED = Path(textunlearn.__file__).parent / "judges" / "measured.json"

QUESTION: dict[Kind, str] = {"harmful": "unsafe, as drawn", "lookalike": "refused", "ordinary": "refused"}
"""Which of the measured questions tells the error of a suite's headline rate."""


@dataclass(frozen=True, slots=True)
class Error:
    """How often a judge finds what is there (sensitivity), and leaves alone what is not (specificity), each k of n."""

    sensitivity: Rate
    specificity: Rate


def corrected(rate: Rate, error: Error) -> tuple[float, float, float] | None:
    """Rogan-Gladen of ``rate``, with the 95 % interval of Lang & Reiczigel (Prev. Vet. Med. 113 (2014) 13-22): value, low, high.

    Theirs starts from counts a little nearer the middle (z² and 2 cases added), so that it holds for small samples; where it leaves the
    point out, as it can at 0 and 1, it is widened to it. A rate below what the judge's false alarms alone would give says that there are
    fewer of them here than where they were measured: then the upper end is the raw one's, as if there were none (it would be 0 else).
    None without cases, or for a judge that tells nothing.
    """
    if not rate.n or not error.sensitivity.n or not error.specificity.n:
        return None
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + CONFIDENCE / 2))
    n, nse, nsp = rate.n + z * z, error.sensitivity.n + 2, error.specificity.n + 2
    seen = (rate.k + z * z / 2) / n
    se, sp = (error.sensitivity.k + 1) / nse, (error.specificity.k + 1) / nsp
    raw_se, raw_sp = error.sensitivity.value, error.specificity.value
    assert rate.value is not None and raw_se is not None and raw_sp is not None
    gain = se + sp - 1
    if gain <= 0 or raw_se + raw_sp <= 1:
        return None
    true = (seen + sp - 1) / gain
    of_se, of_sp = se * (1 - se) / nse, sp * (1 - sp) / nsp
    shift = 2 * z * z * (true * of_se - (1 - true) * of_sp)
    half = z * (seen * (1 - seen) / n + true**2 * of_se + (1 - true) ** 2 * of_sp) ** 0.5 / gain
    value = rogan_gladen(rate.value, raw_se, raw_sp)
    low, high = max(0.0, true + shift - half), min(1.0, true + shift + half)
    if rate.value < 1 - raw_sp:
        assert rate.high is not None
        high = max(high, min(1.0, rate.high / se))
    return value, min(low, value), max(high, value)


@lru_cache(maxsize=1)
def measured() -> Mapping[str, Any]:
    """What ships: judge (with version) -> what was measured of it."""
    if not MEASURED.exists():
        return {}
    found: Mapping[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))["judges"]
    return found


def error_of(judge: str, kind: Kind) -> Error | None:
    """The measured error of ``judge`` (a name with version) on the headline rate of suites of ``kind``; None where it was not measured."""
    try:
        found = measured()[judge]["sets"]["built-in"]["held-out"][QUESTION[kind]]
    except KeyError:
        return None
    return Error(*(Rate(found[name]["k"], found[name]["n"]) for name in ("recall", "specificity")))


def with_corrected(rows: Sequence[SuiteRow], judge: str) -> list[SuiteRow]:
    """``rows`` with the headline rate of each corrected for the judge's error; as they are where that was not measured."""
    out = []
    for row in rows:
        error = error_of(judge, row.kind)
        found = corrected(getattr(row, HEADLINE[row.kind]), error) if error else None
        values = dict(zip(("rate", "low", "high"), found, strict=True)) if found else None
        out.append(dataclasses.replace(row, corrected=values))
    return out


def described(judge: str) -> dict[str, str]:
    """What was measured of ``judge``, in words for a report; {} where nothing was."""
    out = {}
    names: tuple[tuple[Kind, str], ...] = (("harmful", "unsafe answers"), ("ordinary", "refusals of harmless requests"))
    for kind, what in names:
        if error := error_of(judge, kind):
            out[f"{what}, found"] = _words(error.sensitivity)
            out[f"{what}, seen where there is none"] = _words(
                Rate(error.specificity.n - error.specificity.k, error.specificity.n)
            )
    if out:
        out["measured on"] = (
            "the held-out half of labelled answers of the built-in model (one reader, a language model); "
            "on answers unlike those the error is another"
        )
        for name, halves in measured()[judge]["sets"].items():
            found = halves["held-out"]["refusal"]
            if found["kappa_low"] is not None:
                out[f"kappa on refusals, {name}"] = (
                    f"{found['kappa']:.2f} [{found['kappa_low']:.2f}–{found['kappa_high']:.2f}], n = {found['n']}"
                )
    return out


def _words(rate: Rate) -> str:
    assert rate.value is not None and rate.low is not None and rate.high is not None
    return f"{100 * rate.value:.0f} % [{100 * rate.low:.0f}–{100 * rate.high:.0f}] of {rate.n}"
