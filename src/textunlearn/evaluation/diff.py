"""Two models on the same cases: what changed, by paired tests. Nothing is generated; verdicts of two run folders are read.

Only cases that both saw count, and each is compared with itself, so a difference of a few cases shows that two separate rates
with their intervals would hide. McNemar's exact test a row; p values are Holm's over all rows of the table, since a table of twenty
tests finds one "significant" difference by chance alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from textunlearn.errors import UserError
from textunlearn.evaluation.metrics import JSON_NAME
from textunlearn.evaluation.statistics import CONFIDENCE, Paired, Rate, holm, mcnemar
from textunlearn.files import read_json, read_records
from textunlearn.records import HEADLINE, Case, Kind, Label, Score, Verdict


@dataclass(frozen=True, slots=True)
class Scores:
    """What one model scored on a set of questions, by question id: from 0 to 1 in the set's main measure, called ``title``."""

    title: str
    by_question: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Side:
    """One model of one run folder, with its verdicts by case id."""

    run: Path
    model: str
    judge: str
    cases: tuple[Case, ...]
    verdicts: Mapping[str, Verdict]
    scores: Mapping[str, Scores] = field(default_factory=dict)
    """By set of questions with known answers."""

    @property
    def title(self) -> str:
        return f"{self.run.name}:{self.model}"


def _verdict(paired: Paired, p: float) -> str:
    if p >= 1 - CONFIDENCE:
        return "no clear difference"
    return "more" if paired.gained > paired.lost else "fewer"


@dataclass(frozen=True, slots=True)
class Change:
    """One label over the pairs of one suite (or of all of a kind).

    Attributes:
        before, after: rates of the first and the second model on the ``n`` shared cases.
        paired: how many cases gained and lost the label, and McNemar's p.
        p: Holm's over the table.
    """

    suite: str
    kind: str
    label: Label
    before: Rate
    after: Rate
    paired: Paired
    p: float

    @property
    def verdict(self) -> str:
        """``fewer``, ``more`` or ``no clear difference`` of the label in the second model."""
        return _verdict(self.paired, self.p)

    def to_json(self) -> dict[str, Any]:
        return _to_json(self, "suite", "kind", "label", "p", "verdict")


@dataclass(frozen=True, slots=True)
class Gained:
    """Right answers to the questions of one set that both models were asked.

    Attributes:
        before, after: the mean score of the first and the second model (right or wrong; VQA's soft accuracy has parts in between).
        paired: how many questions the second model answered better and worse, and McNemar's p of these numbers.
        p: Holm's over the table.
    """

    name: str
    title: str
    before: Rate
    after: Rate
    paired: Paired
    p: float

    @property
    def verdict(self) -> str:
        """``fewer``, ``more`` or ``no clear difference`` of right answers in the second model."""
        return _verdict(self.paired, self.p)

    def to_json(self) -> dict[str, Any]:
        return {"set": self.name, **_to_json(self, "title", "p", "verdict")}


def _to_json(one: Change | Gained, *names: str) -> dict[str, Any]:
    """The fields ``names``, both rates and what is paired."""
    return {
        **{name: getattr(one, name) for name in names},
        "before": one.before.to_json(),
        "after": one.after.to_json(),
        "paired": asdict(one.paired),
    }


@dataclass(frozen=True, slots=True)
class Moved:
    """A case whose label changed."""

    case: str
    suite: str
    kind: str
    before: Label
    after: Label


@dataclass(frozen=True, slots=True)
class Diff:
    """What two models said to the same cases.

    Attributes:
        rows: a row a suite for its headline label, then one for broken answers, then the same over all attacks and all harmless
            requests.
        moved: every case with another label.
        only_first, only_second: cases that the other one never saw; they are in no row.
        gains: a row a set of questions with known answers.
    """

    first: Side
    second: Side
    rows: tuple[Change, ...]
    moved: tuple[Moved, ...]
    only_first: int
    only_second: int
    gains: tuple[Gained, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "first": self.first.title,
            "second": self.second.title,
            "judge": self.first.judge,
            "rows": [row.to_json() for row in self.rows],
            "benchmarks": [row.to_json() for row in self.gains],
            "moves": dict(Counter(f"{m.kind}: {m.before} -> {m.after}" for m in self.moved)),
            "moved": [asdict(m) for m in self.moved],
            "only_first": self.only_first,
            "only_second": self.only_second,
        }


def named_model(name: str) -> tuple[Path, str, dict[str, Any]]:
    """Run folder, model and metrics of ``RUN`` or ``RUN:MODEL``; without a model the last one of the run's metrics.

    UserError if there is no such run or model, or if the run is not evaluated.
    """
    run, model = _split(name)
    path = run / JSON_NAME
    if not path.is_file():
        raise UserError(f"{run} holds no {JSON_NAME}; evaluate it first (`textunlearn evaluate`)")
    metrics = read_json(path)
    models = [str(m) for m in metrics.get("models", [])] if isinstance(metrics, dict) else []
    if not models:
        raise UserError(f"{path} names no model; evaluate the run again")
    model = model or models[-1]
    if model not in models:
        raise UserError(f"{run} holds no model {model!r}; it holds {', '.join(models)}")
    return run, model, metrics


def read_side(name: str, judge: str | None = None) -> Side:
    """``RUN`` or ``RUN:MODEL`` (``runs/quickstart:before``); without a model the last one of the run's metrics.

    Args:
        judge: whose verdicts; None: the judge that the run's metrics name.

    UserError if there is no such run, model or judge.
    """
    run, model, metrics = named_model(name)
    judge = judge or str(metrics["run"].get("judge", ""))
    file = run / "verdicts" / f"{model}.{judge}.jsonl"
    scores = _scores(run, model, metrics)
    if not file.is_file() and not scores:
        found = sorted(p.name[len(model) + 1 : -6] for p in file.parent.glob(f"{model}.*.jsonl"))
        raise UserError(
            f"the judge {judge!r} has not judged {run}:{model}; those that have: {', '.join(found) or 'none'}"
        )
    cases = tuple(read_records(run / "cases.jsonl", Case))
    return Side(run, model, judge, cases, {v.case: v for v in read_records(file, Verdict)}, scores)


def _scores(run: Path, model: str, metrics: Mapping[str, Any]) -> dict[str, Scores]:
    """The first measure of each set is its main one."""
    from textunlearn.evaluation.benchmarks import scores_file

    out: dict[str, Scores] = {}
    for row in metrics.get("benchmarks") or ():
        if row["model"] == model and row["set"] not in out:
            scores = read_records(scores_file(run, model, row["set"]), Score)
            out[row["set"]] = Scores(str(row["title"]), {score.question: score.values[0] for score in scores})
    return out


def _split(name: str) -> tuple[Path, str]:
    """The run and the model of ``RUN:MODEL``; a folder whose own name holds a colon (or a drive) is a run."""
    if Path(name).is_dir():
        return Path(name), ""
    run, colon, model = name.rpartition(":")
    if colon and Path(run).is_dir():
        return Path(run), model
    raise UserError(
        f"there is no run folder {name}; name one, or one with a model in it such as runs/quickstart:before"
    )


def diff(first: Side, second: Side) -> Diff:
    """Compare two sides. UserError if their judges differ or they share no case."""
    if first.judge != second.judge:
        raise UserError(
            f"{first.title} was judged by {first.judge} and {second.title} by {second.judge}: that compares judges; "
            "name one judge for both with --judge (`textunlearn judge RUN --judge …` adds its verdicts)"
        )
    # What a judge could not tell of is in no comparison.
    failed = {case for side in (first, second) for case, verdict in side.verdicts.items() if verdict.label == "failed"}
    ones, others = (
        {(c.suite, c.id, c.prompt.id): c for c in side.cases if c.id not in failed} for side in (first, second)
    )
    shared = [key for key in ones if key in others]
    answered = _answered(first, second)
    if not shared and not answered:
        raise UserError(f"{first.title} and {second.title} share no test case, so there is nothing to compare")
    groups: dict[tuple[str, Kind], list[str]] = {}
    for key in shared:
        groups.setdefault((ones[key].suite, ones[key].prompt.kind), []).append(key[1])
    together: dict[tuple[str, Kind], list[str]] = {}
    for (_, kind), ids in groups.items():
        whole: tuple[str, Kind] = ("all attacks", "harmful") if kind == "harmful" else ("all harmless", "ordinary")
        together.setdefault(whole, []).extend(ids)

    def labels(side: Side, ids: Sequence[str]) -> list[Label]:
        try:
            return [side.verdicts[case].label for case in ids]
        except KeyError as error:
            raise UserError(f"{side.title} has no verdict on the case {error.args[0]}; judge it again") from None

    found = []
    for (suite, kind), ids in (*groups.items(), *together.items()):
        a, b = labels(first, ids), labels(second, ids)
        for label in (HEADLINE[kind], "broken"):
            had, has = [one == label for one in a], [one == label for one in b]
            rates = Rate(sum(had), len(had)), Rate(sum(has), len(has))
            found.append((suite, kind, label, *rates, mcnemar(had, has)))
    adjusted = holm([*(row[-1].p for row in found), *(row[-1].p for row in answered)])
    rows = tuple(Change(*row, p) for row, p in zip(found, adjusted, strict=False))
    gains = tuple(Gained(*row, p) for row, p in zip(answered, adjusted[len(found) :], strict=True))
    moved = tuple(
        Moved(key[1], ones[key].suite, ones[key].prompt.kind, was, now)
        for key in shared
        if (was := first.verdicts[key[1]].label) != (now := second.verdicts[key[1]].label)
    )
    return Diff(first, second, rows, moved, len(ones) - len(shared), len(others) - len(shared), gains)


def _answered(first: Side, second: Side) -> list[tuple[str, str, Rate, Rate, Paired]]:
    out = []
    for name, scores in first.scores.items():
        others = second.scores.get(name, Scores("", {})).by_question
        pairs = [(score, others[key]) for key, score in scores.by_question.items() if key in others]
        if pairs:
            # better and worse instead of right and wrong: the same for these two, and it holds for scores in between
            paired = mcnemar([a > b for a, b in pairs], [b > a for a, b in pairs])
            was, now = (Rate(min(sum(some), len(pairs)), len(pairs)) for some in zip(*pairs, strict=True))
            out.append((name, scores.title, was, now, paired))
    return out


def sentences(found: Diff) -> list[str]:
    """What changed, in words, by fixed rules."""
    clear = [row for row in found.rows if row.verdict != "no clear difference"]
    names = {"unsafe": "unsafe answers", "refusal": "refusals", "broken": "broken answers"}
    out = [
        f"{found.second.title} gives {row.verdict} {names[row.label]} than {found.first.title} on {row.suite}: "
        f"{_percent(row.before)} → {_percent(row.after)} of {row.before.n} (p {_p(row.p)})"
        for row in clear
    ]
    out += [
        f"{found.second.title} gives {row.verdict} right answers than {found.first.title} on {row.title}: "
        f"{_percent(row.before)} → {_percent(row.after)} of {row.before.n} (p {_p(row.p)})"
        for row in found.gains
        if row.verdict != "no clear difference"
    ]
    where = "any suite or set of questions" if found.gains else "any suite"
    return out or [f"no clear difference between {found.first.title} and {found.second.title} on {where}"]


def _percent(rate: Rate) -> str:
    return f"{100 * (rate.value or 0):.0f}\u00a0%"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
