"""Rates corrected for a judge's error, and what a second judge says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from textunlearn.evaluation.judge_error import Error, corrected, described, error_of, with_corrected
from textunlearn.evaluation.metrics import summarise, write_metrics
from textunlearn.evaluation.second_opinion import agreement, opinions, sentences
from textunlearn.evaluation.statistics import Rate, kappa, rogan_gladen
from textunlearn.files import read_json, write_records
from textunlearn.records import Case, Kind, Label, Prompt, Verdict
from textunlearn.report.table import print_table, read_table

# -- correction ----------------------------------------------------------------------------------------------------------


def test_the_correction_is_rogan_gladens_and_its_interval_is_wider_for_a_judge_less_well_known() -> None:
    rate = Rate(66, 300)
    well = corrected(rate, Error(Rate(900, 1000), Rate(950, 1000)))
    badly = corrected(rate, Error(Rate(45, 50), Rate(57, 60)))
    assert well and badly and well[0] == badly[0] == pytest.approx(rogan_gladen(0.22, 0.9, 0.95))
    assert badly[1] < well[1] < well[0] < well[2] < badly[2]


def test_lang_and_reiczigels_interval_by_hand() -> None:
    # n = 100, 30 positive; se 45/50, sp 80/100. z² = 3.8415: p' = (30 + 1.92073) / 103.8415 = 0.307398;
    # se' = 46/52, sp' = 81/102; gain 0.678733; P' = (0.307398 + 0.794118 - 1) / 0.678733 = 0.149568 ...
    found = corrected(Rate(30, 100), Error(Rate(45, 50), Rate(80, 100)))
    assert found is not None
    z2, p, se, sp = 3.841459, 0.307398, 46 / 52, 81 / 102
    true = (p + sp - 1) / (se + sp - 1)
    shift = 2 * z2 * (true * se * (1 - se) / 52 - (1 - true) * sp * (1 - sp) / 102)
    half = (
        z2 * (p * (1 - p) / 103.841459 + true**2 * se * (1 - se) / 52 + (1 - true) ** 2 * sp * (1 - sp) / 102)
    ) ** 0.5
    assert found[1] == pytest.approx(max(0, true + shift - half / (se + sp - 1)), abs=1e-5)
    assert found[2] == pytest.approx(true + shift + half / (se + sp - 1), abs=1e-5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """1,000 studies: a judge of sensitivity 0.9 and specificity 0.85, known from 60 and 120 answers, sees 150 cases, a fifth unsafe."""
    random, true, covered = np.random.default_rng(0), 0.2, 0
    for _ in range(1000):
        error = Error(Rate(int(random.binomial(60, 0.9)), 60), Rate(int(random.binomial(120, 0.85)), 120))
        seen = Rate(int(random.binomial(150, true * 0.9 + (1 - true) * 0.15)), 150)
        found = corrected(seen, error)
        assert found is not None
        covered += found[1] <= true <= found[2]
    assert 0.93 <= covered / 1000 <= 0.99


@pytest.mark.parametrize(("k", "n"), [(0, 50), (50, 50), (1, 1)])
def test_the_interval_holds_the_value_and_stays_within_0_and_1(k: int, n: int) -> None:
    found = corrected(Rate(k, n), Error(Rate(48, 50), Rate(110, 120)))
    assert found is not None and 0 <= found[1] <= found[0] <= found[2] <= 1


def test_nothing_is_corrected_for_without_cases_or_by_a_judge_that_tells_nothing() -> None:
    assert corrected(Rate(0, 0), Error(Rate(9, 10), Rate(9, 10))) is None
    assert corrected(Rate(5, 10), Error(Rate(0, 0), Rate(9, 10))) is None
    assert corrected(Rate(5, 10), Error(Rate(5, 10), Rate(5, 10))) is None
    assert error_of("nobody-1", "harmful") is None and described("nobody-1") == {}


def made_cases(kinds: dict[Kind, int]) -> list[Case]:
    return [
        Case(f"suite {kind}", "direct", Prompt(f"{kind} {n}", kind, "t"), f"{kind} {n}")
        for kind, count in kinds.items()
        for n in range(count)
    ]


def test_reports_show_the_corrected_rates_beside_the_raw_ones(tmp_path: Path) -> None:
    cases = made_cases({"harmful": 40, "ordinary": 20})
    said: list[Label] = ["unsafe"] * 10 + ["refusal"] * 30 + ["other"] * 19 + ["failed"]
    verdicts = [Verdict(c.id, "rules-4", label, "") for c, label in zip(cases, said, strict=True)]
    rows_ = with_corrected(summarise(cases, {"m": verdicts}), "rules-4")
    error = error_of("rules-4", "harmful")
    assert error is not None
    assert rows_[0].corrected == dict(zip(("rate", "low", "high"), corrected(Rate(10, 40), error) or (), strict=True))
    write_metrics(tmp_path, rows_, {}, {"run": {"judge": "rules-4"}, "judge_error": described("rules-4")})
    metrics = read_json(tmp_path / "metrics.json")
    cell = read_table(metrics).rows[0].cells[0]
    assert cell is not None and cell.rates["unsafe"] is not None and cell.rates["unsafe"].rate == 0.25
    value = rows_[0].corrected["rate"]
    assert cell.corrected.startswith(f"{100 * value:.0f}") and "[" in cell.corrected
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(metrics, console)
    shown = console.export_text()
    assert "25" in shown and "corrected for the judge's error" in shown and cell.corrected in shown
    assert "could not tell of 1 cases" in shown and "Judge's error: unsafe answers, found" in shown
    assert with_corrected(rows_[:1], "nobody-1")[0].corrected is None


# -- second opinions -----------------------------------------------------------------------------------------------------


def test_kappa_of_several_labels_by_hand() -> None:
    # 10 answers: 4 refusal/refusal, 3 unsafe/unsafe, 2 unsafe/refusal, 1 other/other: seen .8, by chance .4*.6 + .5*.3 + .1*.1 = .4.
    pairs = (
        [("refusal", "refusal")] * 4 + [("unsafe", "unsafe")] * 3 + [("unsafe", "refusal")] * 2 + [("other", "other")]
    )
    assert kappa(Counter(pairs)) == pytest.approx((0.8 - 0.4) / 0.6)
    assert kappa({}) is None and kappa({("unsafe", "unsafe"): 3}) is None


def test_two_judges_of_one_run(tmp_path: Path) -> None:
    cases = made_cases({"harmful": 12})
    ours: list[Label] = ["unsafe"] * 6 + ["refusal"] * 6
    theirs: list[Label] = ["unsafe"] * 4 + ["refusal"] * 7 + ["failed"]
    write_records(tmp_path / "cases.jsonl", cases)
    for judge, labels_ in (("rules-4", ours), ("other-1", theirs)):
        made = [Verdict(c.id, judge, label, "") for c, label in zip(cases, labels_, strict=True)]
        write_records(tmp_path / f"verdicts/after.{judge}.jsonl", made)
    [found] = opinions(tmp_path, ("before", "after"), "rules-4")
    assert (found["judge"], found["model"], found["n"], found["agree"], found["failed"]) == (
        "other-1",
        "after",
        11,
        9,
        1,
    )
    assert found["pairs"] == {"refusal / refusal": 5, "unsafe / unsafe": 4, "unsafe / refusal": 2}
    assert found["harmful"] == {"n": 11, "unsafe": 4} and found["kappa_low"] < found["kappa"] < found["kappa_high"]
    [said] = sentences([found], "rules-4")
    assert "agree on 9 of 11" in said and "unsafe / refusal 2" in said and "1 answers" in said
    assert agreement([], [])["n"] == 0
