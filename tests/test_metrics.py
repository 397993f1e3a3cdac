"""Rates of verdicts, the metrics files, and the mean of runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from textunlearn.errors import UserError
from textunlearn.evaluation.metrics import SuiteRow, average_runs, read_metrics, summarise, write_metrics
from textunlearn.records import Case, Kind, Label, Prompt, Verdict


def case(
    number: int, suite: str = "direct", kind: Kind = "harmful", form: str = "question", category: str = ""
) -> Case:
    text = f"request {number}"
    return Case(suite, "direct", Prompt(text, kind, "test", form, category), text)


def verdicts(cases: list[Case], labels: str) -> list[Verdict]:
    names: dict[str, Label] = {"u": "unsafe", "r": "refusal", "b": "broken", "o": "other"}
    return [Verdict(c.id, "rules-1", names[letter], "because") for c, letter in zip(cases, labels, strict=True)]


CASES = [case(i, form="question" if i < 3 else "list", category="locks" if i % 2 else "") for i in range(5)]


def rows() -> list[SuiteRow]:
    return summarise(CASES, {"before": verdicts(CASES, "uuuur"), "after": verdicts(CASES, "rrubo")})


def test_rates_of_each_label_and_model() -> None:
    before, after = rows()
    assert (before.suite, before.attack, before.kind, before.model, before.n) == (
        "direct",
        "direct",
        "harmful",
        "before",
        5,
    )
    assert [r.k for r in (before.unsafe, before.refusal, before.broken, before.other)] == [4, 1, 0, 0]
    assert [r.value for r in (after.unsafe, after.refusal, after.broken, after.other)] == [0.2, 0.4, 0.2, 0.2]


def test_refusals_by_form_and_category() -> None:
    after = rows()[1]
    assert {form: (rate.k, rate.n) for form, rate in after.by_form.items()} == {"question": (2, 3), "list": (0, 2)}
    assert {name: (rate.k, rate.n) for name, rate in after.by_category.items()} == {"locks": (1, 2)}


def test_suites_keep_their_order_and_share_verdicts() -> None:
    shared = [case(1, suite="zebra"), case(1, suite="apple"), case(2, suite="zebra", kind="lookalike")]
    found = summarise(shared, {"m": verdicts(shared[::2], "ro")})
    assert [(row.suite, row.kind, row.refusal.k, row.n) for row in found] == [
        ("zebra", "harmful", 1, 1),
        ("apple", "harmful", 1, 1),
        ("zebra", "lookalike", 0, 1),
    ]


def test_a_missing_verdict_is_named() -> None:
    with pytest.raises(UserError, match=CASES[4].id):
        summarise(CASES, {"before": verdicts(CASES[:4], "uuuu")})


def test_two_verdicts_that_differ_are_an_error() -> None:
    with pytest.raises(UserError, match=CASES[0].id):
        summarise(CASES[:1], {"m": verdicts([CASES[0], CASES[0]], "ur")})


UTILITY = {
    "before": {"perplexity": 20.0, "perplexity_ratio": 1.0},
    "after": {"perplexity": 21.0, "perplexity_ratio": 1.05},
}


def written(folder: Path, seed: int = 1, scale: float = 1.0, found: list[SuiteRow] | None = None) -> Path:
    utility = {model: {key: value * scale for key, value in values.items()} for model, values in UTILITY.items()}
    extra = {"run": {"seed": seed}, "cost": {"seconds": 10.0 * scale}, "not_measured": ["objects in images"]}
    write_metrics(folder, rows() if found is None else found, utility, extra)
    return folder


def test_files_hold_the_rates(tmp_path: Path) -> None:
    data = read_metrics(written(tmp_path / "run"))
    assert data["models"] == ["before", "after"] and data["run"] == {"seed": 1} and data["utility"] == UTILITY
    assert data["cost"] == {"seconds": 10.0} and data["not_measured"] == ["objects in images"]
    unsafe = data["suites"][1]["unsafe"]
    assert (
        unsafe["k"] == 1 and unsafe["n"] == 5 and unsafe["rate"] == 0.2 and 0 < unsafe["low"] < 0.2 < unsafe["high"] < 1
    )
    assert data["suites"][1]["by_form"]["question"]["k"] == 2
    json.dumps(data, allow_nan=False)
    with (tmp_path / "run" / "metrics.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["model"] for row in table] == ["before", "after"]
    assert table[0]["unsafe_k"] == "4" and float(table[0]["unsafe_rate"]) == 0.8 and table[1]["broken_k"] == "1"
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["metrics.csv", "metrics.json"]


def test_extra_may_not_replace_the_rates(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="suites"):
        write_metrics(tmp_path, rows(), {}, {"suites": []})


def test_reading_what_is_not_there_or_not_ours(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.json does not hold a JSON object"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.json").write_text('{"run": {}}', encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.json"):
        read_metrics(tmp_path)


def test_mean_of_two_seeds(tmp_path: Path) -> None:
    second = summarise(CASES, {"before": verdicts(CASES, "uuuur"), "after": verdicts(CASES, "ruuuo")})
    runs = [read_metrics(written(tmp_path / "1")), read_metrics(written(tmp_path / "2", 2, 2.0, second))]
    found = average_runs(runs)
    unsafe = found["suites"][1]["unsafe"]
    assert (unsafe["k"], unsafe["n"], unsafe["rate"]) == (4, 10, 0.4) and unsafe["seeds"] == [0.2, 0.6]
    assert unsafe["mean"] == pytest.approx(0.4) and (unsafe["mean_low"], unsafe["mean_high"]) == (0, 1)
    # The interval is that of 2 of 5, not of 4 of 10: both runs answered the same five requests.
    assert unsafe["low"] == pytest.approx(0.117621, abs=1e-5) and unsafe["high"] == pytest.approx(0.769276, abs=1e-5)
    assert found["suites"][0]["unsafe"]["mean_low"] == pytest.approx(0.8)
    assert found["utility"]["after"]["perplexity"] == pytest.approx(31.5)
    assert found["utility_seeds"]["after"]["perplexity"][0] == pytest.approx(31.5)
    assert found["cost"]["seconds"] == 15 and found["run"] == {"runs": [{"seed": 1}, {"seed": 2}]}
    assert found["models"] == runs[0]["models"] and set(runs[0]) <= set(found)
    assert set(runs[0]["suites"][0]) == set(found["suites"][0])


def test_mean_of_one_run_and_of_runs_that_differ(tmp_path: Path) -> None:
    one = read_metrics(written(tmp_path / "1"))
    alone = average_runs([one])["suites"][1]["unsafe"]
    assert {key: alone[key] for key in ("k", "n", "rate", "low", "high")} == one["suites"][1]["unsafe"]
    assert alone["mean_low"] is None
    other = read_metrics(written(tmp_path / "2", found=rows()[:1]))
    with pytest.raises(UserError, match="'direct'"):
        average_runs([one, other])
    with pytest.raises(UserError, match="no run"):
        average_runs([])
