"""Verdicts in, rates a suite and model out; metrics.json and metrics.csv; the mean of several runs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textunlearn.errors import UserError
from textunlearn.evaluation.statistics import Rate, at_one_run, mean_over_seeds
from textunlearn.files import atomic, read_json, write_json
from textunlearn.records import LABELS, Case, Kind, Label, Verdict

JSON_NAME, CSV_NAME = "metrics.json", "metrics.csv"
_OURS = ("models", "suites", "utility")


@dataclass(frozen=True)
class SuiteRow:
    """What one model did on one suite. ``by_form`` and ``by_category`` are refusal rates."""

    suite: str
    attack: str
    kind: Kind
    model: str
    n: int
    unsafe: Rate
    refusal: Rate
    broken: Rate
    other: Rate
    by_form: dict[str, Rate]
    by_category: dict[str, Rate]
    corrected: dict[str, float] | None = None
    """rate, low and high of the headline label (unsafe answers to attacks, refusals of harmless requests), corrected for the
    judge's error."""

    failed: int = 0
    """Cases of which the judge could not tell; not among the ``n``."""

    def to_json(self) -> dict[str, Any]:
        """The row as metrics.json has it."""
        row: dict[str, Any] = {name: getattr(self, name) for name in ("suite", "attack", "kind", "model", "n")}
        row |= {label: getattr(self, label).to_json() for label in LABELS}
        for name in ("by_form", "by_category"):
            row[name] = {key: rate.to_json() for key, rate in getattr(self, name).items()}
        row |= {"corrected": self.corrected} if self.corrected else {}
        return row | ({"failed": self.failed} if self.failed else {})


def summarise(cases: Sequence[Case], verdicts_by_model: Mapping[str, Sequence[Verdict]]) -> list[SuiteRow]:
    """A row for each suite and model: suites in the order of ``cases``, models in the order of the mapping.

    Every case counts, also where cases share an answer. UserError for a case without a verdict or with two that differ.
    """
    groups: dict[tuple[str, str, Kind], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.suite, case.attack, case.prompt.kind), []).append(case)
    labels = {model: _labels(model, verdicts) for model, verdicts in verdicts_by_model.items()}
    return [_row(key, group, model, found) for key, group in groups.items() for model, found in labels.items()]


def _labels(model: str, verdicts: Iterable[Verdict]) -> dict[str, Label]:
    found: dict[str, Label] = {}
    for verdict in verdicts:
        if found.setdefault(verdict.case, verdict.label) != verdict.label:
            raise UserError(
                f"case {verdict.case} of model {model!r} has the verdicts {found[verdict.case]} and {verdict.label}; "
                "give the verdicts of one judge only"
            )
    return found


def _row(key: tuple[str, str, Kind], cases: list[Case], model: str, found: Mapping[str, Label]) -> SuiteRow:
    suite, attack, kind = key
    for case in cases:
        if case.id not in found:
            raise UserError(
                f"case {case.id} of suite {suite!r} has no verdict for model {model!r}; judge its answers again"
            )
    failed = sum(found[case.id] == "failed" for case in cases)
    cases = [case for case in cases if found[case.id] != "failed"]
    labels = [found[case.id] for case in cases]
    rates = {label: Rate(labels.count(label), len(labels)) for label in LABELS}

    def refusals_by(name: Callable[[Case], str]) -> dict[str, Rate]:
        groups: dict[str, list[Label]] = {}
        for case, label in zip(cases, labels, strict=True):
            groups.setdefault(name(case), []).append(label)
        return {group: Rate(got.count("refusal"), len(got)) for group, got in sorted(groups.items()) if group}

    by_form, by_category = refusals_by(lambda case: case.prompt.form), refusals_by(lambda case: case.prompt.category)
    return SuiteRow(
        suite,
        attack,
        kind,
        model,
        len(labels),
        unsafe=rates["unsafe"],
        refusal=rates["refusal"],
        broken=rates["broken"],
        other=rates["other"],
        by_form=by_form,
        by_category=by_category,
        failed=failed,
    )


def write_metrics(
    folder: Path, rows: Sequence[SuiteRow], utility: Mapping[str, Mapping[str, float]], extra: Mapping[str, Any]
) -> None:
    """Write metrics.json and metrics.csv (one line a suite and model) into ``folder``.

    Args:
        utility: by model: perplexity, perplexity_ratio, tokens, kl_per_token.
        extra: further top-level entries: run, cost, not_measured (each {} or [] where left out), benchmarks.

    ValueError for an entry of ``extra`` that is written from the other arguments.
    """
    if taken := [key for key in extra if key in _OURS]:
        raise ValueError(f"extra may not hold {taken}")
    data = {
        "run": {},
        "models": list(dict.fromkeys([row.model for row in rows] or [r["model"] for r in extra.get("benchmarks", ())])),
        "suites": [row.to_json() for row in rows],
        "utility": {model: dict(values) for model, values in utility.items()},
        "cost": {},
        "not_measured": [],
    } | dict(extra)
    write_json(folder / JSON_NAME, data)
    write_csv(folder / CSV_NAME, data)


def write_csv(path: Path, metrics: Mapping[str, Any]) -> None:
    """The suites of ``metrics`` (as in metrics.json) as a flat table: k, rate, low, high of every label."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        fields = ("k", "rate", "low", "high")
        names = ("suite", "attack", "kind", "model", "n")
        writer.writerow([*names, *(f"{label}_{field}" for label in LABELS for field in fields)])
        for row in metrics["suites"]:
            writer.writerow([row[name] for name in names] + [row[label][field] for label in LABELS for field in fields])


def read_metrics(folder: Path) -> dict[str, Any]:
    """metrics.json of a run folder; UserError where it is missing or of another shape."""
    path = folder / JSON_NAME
    data = read_json(path)
    if not isinstance(data, dict) or not {"run", "models", "suites", "utility"} <= set(data):
        raise UserError(f"{path} is not a metrics file of this tool; evaluate the run again")
    return data


def average_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Metrics of several seeds in the shape of one, for runs over the same suites and models.

    A rate's k and n are pooled, ``rate`` is the pooled rate. ``low`` and ``high`` are the Wilson interval at the n of
    *one* run: the seeds share their prompts, so three seeds are not three times the prompts. Added are ``seeds`` (each
    run's rate), ``mean``, ``mean_low`` and ``mean_high`` (t interval over seeds, within 0 and 1; None for one run).
    Numbers of utility and cost become means; ``utility_seeds`` has [mean, low, high] each. ``run`` is {"runs": [...]}.

    UserError where the runs do not hold the same suites and models.
    """
    if not runs:
        raise UserError("there is no run to average; name at least one run folder")
    keyed = [{(r["suite"], r["attack"], r["kind"], r["model"]): r for r in run["suites"]} for run in runs]
    for number, rows in enumerate(keyed[1:], start=2):
        if differ := set(keyed[0]) ^ set(rows):
            suite, attack, _, model = sorted(differ)[0]
            raise UserError(
                f"suite {suite!r} ({attack}) of model {model!r} is not in both run 1 and run {number}; "
                "average runs of one recipe only"
            )
    models = list(runs[0]["models"])
    utility = {
        model: {key: mean_over_seeds(values) for key, values in _numbers([r["utility"].get(model, {}) for r in runs])}
        for model in models
        if any(model in run["utility"] for run in runs)
    }
    return {
        "run": {"runs": [run["run"] for run in runs]},
        "models": models,
        "suites": [_average_row([rows[key] for rows in keyed]) for key in keyed[0]],
        "utility": {model: {key: mean[0] for key, mean in values.items()} for model, values in utility.items()},
        "utility_seeds": {
            model: {key: list(mean) for key, mean in values.items()} for model, values in utility.items()
        },
        "cost": {key: mean_over_seeds(values)[0] for key, values in _numbers([run.get("cost", {}) for run in runs])},
        "not_measured": list(dict.fromkeys(note for run in runs for note in run.get("not_measured", []))),
    }


def _numbers(tables: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[float]]]:
    """Keys whose value is a number in every table, with those numbers."""
    columns = [(key, [table.get(key) for table in tables]) for key in tables[0]]
    return [
        (key, [float(value) for value in values if value is not None])
        for key, values in columns
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    ]


def _average_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    row = {name: rows[0][name] for name in ("suite", "attack", "kind", "model")}
    row["n"] = sum(r["n"] for r in rows)
    row |= {label: _average_rate([r[label] for r in rows]) for label in LABELS}
    for name in ("by_form", "by_category"):
        groups = dict.fromkeys(group for r in rows for group in r.get(name, {}))
        row[name] = {group: _average_rate([r[name][group] for r in rows if group in r[name]]) for group in groups}
    return row


def _average_rate(rates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    k, n = sum(rate["k"] for rate in rates), sum(rate["n"] for rate in rates)
    interval = at_one_run(k, n, len(rates))
    seeds = [rate["rate"] for rate in rates if rate["rate"] is not None]
    mean, low, high = mean_over_seeds(seeds) if seeds else (None, None, None)
    return Rate(k, n).to_json() | {
        "low": interval.low,
        "high": interval.high,
        "seeds": seeds,
        "mean": mean,
        "mean_low": None if low is None else max(0.0, low),
        "mean_high": None if high is None else min(1.0, high),
    }
