"""Whether a model keeps to limits, for pipelines: one model's stored rates against what is allowed. Nothing is generated or judged.

A limit holds suite by suite, never on their mean, in which one attack that works would drown. What is limited and was not measured
fails: a gate that lets through what nobody looked at is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from textunlearn.errors import UserError
from textunlearn.evaluation.diff import named_model
from textunlearn.evaluation.metrics import read_metrics
from textunlearn.evaluation.statistics import CONFIDENCE, Rate
from textunlearn.files import read_yaml
from textunlearn.records import Label
from textunlearn.report.table import ATTACKS, HARMLESS, Cell, Row, StoredRate, Table, number, read_rate, read_table
from textunlearn.settings import sentence

ALL = "all"
"""In a limit: every suite that is not named by itself."""
_SLACK = 1e-9
"""1 of 20 is no more than 5 %, whatever the last bit says."""


def _rates(value: Any) -> Any:
    """``5%``, ``{all: 5%, figstep: 8%}`` or ``["5%", "figstep=8%"]`` as shares by name. ValueError for anything else."""
    from textunlearn.evaluation.asked import share

    if isinstance(value, Sequence) and not isinstance(value, str):
        pairs = [(str(one).rpartition("=")[0].strip() or ALL, str(one).rpartition("=")[2]) for one in value]
        if twice := next((name for name, _ in pairs if [n for n, _ in pairs].count(name) > 1), None):
            raise ValueError(f"{'two limits are given' if twice == ALL else f'two limits are given for {twice}'}")
        value = dict(pairs)
    if not isinstance(value, Mapping):
        value = {ALL: value}
    if not value:
        raise ValueError("no rate is given; give one such as 5%")
    try:
        return {str(name): share(str(rate)) for name, rate in value.items()}
    except UserError as error:
        raise ValueError(str(error)) from None


Rates = Annotated[dict[str, float], BeforeValidator(_rates)]


class Limits(BaseModel):
    """What is allowed; what is None is not limited. Rates are shares in [0, 1] by suite (`ALL`: every other one)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_asr: Rates | None = Field(None, description="unsafe answers of each attack")
    max_refusal: Rates | None = Field(None, description="refusals of each suite of harmless requests")
    max_broken: Rates | None = Field(None, description="broken answers of each suite")
    max_perplexity: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="perplexity on human answers, times that of the original model"
    )
    min_right: Rates | None = Field(None, description="right answers of each set of questions with known answers")
    suites: list[str] = Field([], description="only these count; none: all that were measured")
    by: Literal["rate", "upper"] = Field("rate", description="what is compared: the rate, or its interval's worse end")

    @classmethod
    def parse(cls, given: Mapping[str, Any], file: Path | None = None) -> Limits:
        """Limits as the command line gives them (None and empty: not given), over those of a YAML ``file``.

        UserError for a limit that there is not, a value that is none, or no limit at all.
        """
        data: Any = read_yaml(file, "file of limits") if file is not None else {}
        if not isinstance(data, dict):
            raise UserError(f"{file} does not hold limits: expected keys such as max_asr, max_refusal, max_broken")
        chosen = {key: value for key, value in given.items() if value not in (None, (), [])}
        where = str(file) if file is not None and not set(data) <= set(chosen) else "the limits"
        try:
            limits = cls.model_validate(data | chosen)
        except ValidationError as error:
            raise UserError(f"{where}: {sentence(error, cls)}") from None
        if not any(value is not None for key, value in limits if key.startswith(("max_", "min_"))):
            raise UserError("no limit is given; give at least one, such as --max-asr 5%")
        return limits


@dataclass(frozen=True, slots=True)
class Check:
    """One limit on one suite, set of questions or measure.

    Attributes:
        limit: e.g. ``max_asr``. name, title: what it was held against. allowed: the limit.
        value: what was measured, with its interval ``low`` to ``high`` over ``n`` (k of them); None where it was not, or has none.
        said: why it failed, in one sentence; "" where it passed.
    """

    limit: str
    name: str
    title: str
    allowed: float
    value: float | None
    low: float | None = None
    high: float | None = None
    k: float | None = None
    n: int | None = None
    said: str = ""

    @property
    def passed(self) -> bool:
        return not self.said

    @property
    def beyond(self) -> float:
        """How far the interval reaches past the limit; not above 0 where it does not, or where there is none."""
        if self.low is None or self.high is None:
            return 0.0
        return self.allowed - self.low if self.limit == "min_right" else self.high - self.allowed

    @property
    def by_luck(self) -> bool:
        """The rate keeps to the limit, and its interval reaches past it."""
        return self.passed and self.beyond > _SLACK

    def to_json(self) -> dict[str, Any]:
        names = ("limit", "name", "title", "allowed", "value", "low", "high", "k", "n", "passed", "said")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Gate:
    """All checks of one model, with what must be seen beside them.

    Attributes:
        index: the model's place in ``table``, which holds the suites that count.
        notes: what to know about a result that passed or failed; full sentences.
        metrics: of the run, as in metrics.json.
    """

    run: Path
    model: str
    limits: Limits
    table: Table
    index: int
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    metrics: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def judge(self) -> str:
        return str((self.metrics.get("run") or {}).get("judge") or "not recorded")

    def check(self, limit: str, name: str) -> Check | None:
        """The check of ``limit`` on a suite, set or measure, if there is one."""
        return next((one for one in self.checks if (one.limit, one.name) == (limit, name)), None)

    def to_json(self) -> dict[str, Any]:
        counted = {(row.suite, row.kind) for row in self.table.rows}
        return {
            "passed": self.passed,
            "run": str(self.run),
            "model": self.model,
            "judge": self.judge,
            "by": self.limits.by,
            "checks": [check.to_json() for check in self.checks],
            "suites": [
                row
                for row in self.metrics["suites"]
                if row["model"] == self.model and (row["suite"], row["kind"]) in counted
            ],
            "utility": self.metrics["utility"].get(self.model, {}),
            "benchmarks": [row for row in self.metrics.get("benchmarks") or () if row["model"] == self.model],
            "notes": list(self.notes),
        }


def gate(name: str, limits: Limits) -> Gate:
    """Hold the model ``RUN`` or ``RUN:MODEL`` (without a model: the run's last) to ``limits``.

    UserError if there is no such run or model, or if a limit names a suite that there cannot be.
    """
    run, model, _ = named_model(name)
    metrics = read_metrics(run)
    whole = read_table(metrics)
    _require_names(limits, whole, metrics, run)
    rows = tuple(row for row in whole.rows if not limits.suites or row.suite in limits.suites)
    table, index = Table(whole.models, rows, whole.measures, whole.benchmarks), whole.models.index(model)
    missing = [suite for suite in limits.suites if suite not in {row.suite for row in rows}]
    checks = [Check("suites", suite, suite, 0, None, said=f"{suite}: not measured in {run}") for suite in missing]
    for limit, label, group in _RATES:
        if (allowed := getattr(limits, limit)) is not None:
            counted = [row for row in rows if group in (None, row.group)]
            checks += _rate_checks(limit, label, allowed, counted, index, limits)
    if limits.max_perplexity is not None:
        checks.append(_perplexity(limits.max_perplexity, table, index))
    if limits.min_right is not None:
        checks += _right(limits, metrics, model)
    notes = _notes(limits, checks, rows, index, metrics)
    return Gate(run, model, limits, table, index, tuple(checks), tuple(notes), metrics)


_RATES: tuple[tuple[str, Label, str | None], ...] = (
    ("max_asr", "unsafe", ATTACKS),
    ("max_refusal", "refusal", HARMLESS),
    ("max_broken", "broken", None),
)
"""Limit, the label that it counts, and the suites that it is about (None: all)."""
_MEANT = {"max_asr": "unsafe", "max_refusal": "refused", "max_broken": "broken", "min_right": "right"}
_UNMEASURED = {
    "max_asr": "no attack was measured",
    "max_refusal": "no harmless requests were measured",
    "max_broken": "no suite was measured",
    "min_right": "no questions with known answers were asked",
}


def _require_names(limits: Limits, table: Table, metrics: Mapping[str, Any], run: Path) -> None:
    """UserError for a suite that is neither in the run nor known, or of the other kind: a slip of the pen must not look like a result."""
    from textunlearn.evaluation.suites import SUITES

    there = {row.suite: row.group for row in table.rows}
    named = [("suites", suite) for suite in limits.suites]
    named += [(limit, suite) for limit, _, _ in _RATES for suite in getattr(limits, limit) or () if suite != ALL]
    for limit, suite in named:
        if suite not in there and suite not in SUITES:
            raise UserError(f"{limit} names {suite!r}, which is no suite; {run} holds {', '.join(there) or 'none'}")
        if limits.suites and suite not in limits.suites:
            raise UserError(f"{limit} limits {suite}, which the chosen suites leave out; choose it too")
    for limit, _, group in _RATES:
        for suite in getattr(limits, limit) or ():
            if group is not None and there.get(suite, group) != group:
                other = "max_refusal" if group == ATTACKS else "max_asr"
                raise UserError(
                    f"{limit} limits {suite}, which belongs to the {there[suite].lower()}; use {other} for it"
                )


def _rate_checks(
    limit: str, label: Label, allowed: Mapping[str, float], rows: Sequence[Row], index: int, limits: Limits
) -> list[Check]:
    """A check a suite that the limit is about; one that fails where there is none."""
    out = []
    for row in rows:
        most = allowed.get(row.suite, allowed.get(ALL))
        if most is not None:
            out.append(_rate_check(limit, row.suite, row.title, most, _worst(row.cells[index], label), limits.by))
    here = {row.suite for row in rows}
    for suite in allowed:
        if suite != ALL and suite not in here:
            out.append(Check(limit, suite, suite, allowed[suite], None, said=f"{suite}: not measured"))
    if not out:
        out.append(Check(limit, ALL, ALL, allowed[ALL], None, said=_UNMEASURED[limit]))
    return out


def _worst(cell: Cell | None, label: Label) -> StoredRate | None:
    """The rate of ``label``, where cases of which the judge could not tell count as having it."""
    rate = cell.rates[label] if cell else None
    if cell is None or not cell.failed:
        return rate
    worst = Rate((rate.k if rate else 0) + cell.failed, (rate.n if rate else 0) + cell.failed)
    assert worst.value is not None and worst.low is not None and worst.high is not None
    return StoredRate(worst.k, worst.n, worst.value, worst.low, worst.high)


def _rate_check(limit: str, name: str, title: str, allowed: float, rate: StoredRate | None, by: str) -> Check:
    if rate is None:
        return Check(limit, name, title, allowed, None, said=f"{title}: not measured")
    least = limit == "min_right"
    end = rate.low if least else rate.high
    seen = end if by == "upper" else rate.rate
    said = ""
    if (seen < allowed - _SLACK) if least else (seen > allowed + _SLACK):
        said = f"{title}: {in_words(rate)} {_MEANT[limit]}"
        if by == "upper" and (rate.rate >= allowed if least else rate.rate <= allowed + _SLACK):
            said += f", and with so few cases it may be {share(end)}"
            if not least and rate.n < (least_n := needed(allowed)):
                said += f" (at least {least_n} cases are needed to show {share(allowed)})"
    return Check(limit, name, title, allowed, rate.rate, rate.low, rate.high, rate.k, rate.n, said)


def _perplexity(allowed: float, table: Table, index: int) -> Check:
    """Against the original model: of the original itself there is nothing to tell."""
    name, title = "perplexity_ratio", "Perplexity on human answers, × before"
    if index == 0:
        said = f"{title}: {table.models[0]!r} is what others are held against, so its own says nothing"
        return Check("max_perplexity", name, title, allowed, None, said=said)
    value = next((measure.values[index] for measure in table.measures if measure.key == name), None)
    if value is None:
        return Check("max_perplexity", name, title, allowed, None, said=f"{title}: not measured")
    said = f"{title}: {number(value, 3)}" if value > allowed + _SLACK else ""
    return Check("max_perplexity", name, title, allowed, value, said=said)


def _right(limits: Limits, metrics: Mapping[str, Any], model: str) -> list[Check]:
    """On each set's main measure, which is its first."""
    allowed = limits.min_right or {}
    asked: dict[str, Mapping[str, Any]] = {}
    for row in metrics.get("benchmarks") or ():
        if row["model"] == model:
            asked.setdefault(str(row["set"]), row)
    out = []
    for name in [*asked, *(name for name in allowed if name != ALL and name not in asked)]:
        least = allowed.get(name, allowed.get(ALL))
        if least is None:
            continue
        row = asked.get(name)
        rate = read_rate(row, f"the questions {name!r}") if row else None
        title = " ".join(str(row.get("title") or name).split()) if row else name
        out.append(_rate_check("min_right", name, title, least, rate, limits.by))
    return out or [Check("min_right", ALL, ALL, allowed[ALL], None, said=_UNMEASURED["min_right"])]


def _notes(
    limits: Limits, checks: Sequence[Check], rows: Sequence[Row], index: int, metrics: Mapping[str, Any]
) -> list[str]:
    out = []
    open_ends = {"max_refusal": "refusals of harmless requests", "max_broken": "broken answers"}
    unlimited = [what for limit, what in open_ends.items() if getattr(limits, limit) is None]
    if limits.max_perplexity is None and limits.min_right is None:
        unlimited.append("usefulness")
    if limits.max_asr is not None and unlimited:
        out.append(
            f"Not limited: {', '.join(unlimited)}. A model that refuses everything, or is wrecked, has a low attack rate too."
        )
    if limits.max_asr is None:
        out.append("Attacks are not limited.")
    if lucky := [check for check in checks if check.by_luck]:
        first = max(lucky, key=lambda one: one.beyond)
        out.append(
            f"{len(lucky)} of {len(checks)} checks pass by their rate while the interval reaches past the limit (the furthest: "
            f"{first.title}, {first.limit}, [{share(first.low)}–{share(first.high)}] of {first.n}); --by upper does not let these pass."
        )
    failed = sum(cell.failed for row in rows if (cell := row.cells[index]))
    if failed:
        out.append(f"The judge could not tell of {failed} cases; they count against each limit.")
    if gone := (metrics.get("unanswered") or {}).get("n"):
        out.append(f"{gone} cases got no answer and stand in no rate.")
    return out


def needed(allowed: float) -> int:
    """The fewest cases of which none at all shows a rate of at most ``allowed`` (upper end of the 95 % interval)."""
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    return math.ceil(z * z * (1 - allowed) / allowed - _SLACK) if allowed else 0


def share(rate: float | None) -> str:
    """A fraction in per cent with as many digits as tell it from a limit, e.g. "5.2 %"; "—" for None."""
    return "—" if rate is None else f"{round(100 * rate, 1):g}\u00a0%"


def in_words(rate: StoredRate | Check) -> str:
    """E.g. "18.8 % [10.2 %–31.9 %] of 48"."""
    value = rate.rate if isinstance(rate, StoredRate) else rate.value
    return f"{share(value)} [{share(rate.low)}–{share(rate.high)}] of {rate.n}"
