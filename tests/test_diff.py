"""Two models on the same cases: what `textunlearn diff` says changed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from textunlearn.errors import UserError
from textunlearn.evaluation.diff import Diff, diff, read_side, sentences
from textunlearn.evaluation.statistics import holm, sample_size
from textunlearn.files import write_json, write_records
from textunlearn.records import Case, Kind, Label, Prompt, Verdict
from textunlearn.report.diff import print_diff


def case(number: int, kind: Kind = "harmful", suite: str = "typed") -> Case:
    text = f"how do i hide the {kind} kettle number {number}"
    return Case(suite, "direct", Prompt(text, kind, "made_up"), text)


def write_run(
    folder: Path, cases: Sequence[Case], labels: dict[str, Sequence[Label]], judge: str = "rules-2", named: str = ""
) -> Path:
    write_records(folder / "cases.jsonl", cases)
    for model, some in labels.items():
        verdicts = [Verdict(c.id, judge, label, "") for c, label in zip(cases, some, strict=True)]
        write_records(folder / f"verdicts/{model}.{judge}.jsonl", verdicts)
    write_json(folder / "metrics.json", {"models": list(labels), "run": {"judge": named or judge}})
    return folder


HARMFUL = [case(i) for i in range(12)]
HARMLESS = [case(i, "ordinary", "plain") for i in range(6)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    before: list[Label] = ["unsafe"] * 11 + ["refusal"] + ["other"] * 6
    after: list[Label] = ["refusal"] * 9 + ["broken"] + ["unsafe"] * 2 + ["refusal"] + ["other"] * 5
    return write_run(tmp_path / "one", [*HARMFUL, *HARMLESS], {"before": before, "after": after})


def compared(run: Path) -> Diff:
    return diff(read_side(f"{run}:before"), read_side(str(run)))


def test_each_case_is_compared_with_itself(run: Path) -> None:
    rows = {(row.suite, row.label): row for row in compared(run).rows}
    typed = rows["typed", "unsafe"]
    assert (typed.before.k, typed.after.k, typed.before.n) == (11, 2, 12)
    # ten cases lost the label and one gained it: the two rates alone (11 and 2) would not tell
    assert (typed.paired.lost, typed.paired.gained) == (10, 1)
    # by hand: 2 * (C(11,0) + C(11,1)) / 2^11
    assert typed.paired.p == pytest.approx(2 * 12 / 2**11)
    assert rows["plain", "refusal"].paired.gained == 1
    assert rows["typed", "broken"].paired.gained == 1
    assert {suite for suite, _ in rows} == {"typed", "plain", "all attacks", "all harmless"}
    assert rows["all attacks", "unsafe"].before.n == 12


def test_p_values_are_adjusted_over_the_whole_table(run: Path) -> None:
    found = compared(run)
    assert [row.p for row in found.rows] == holm([row.paired.p for row in found.rows])
    assert all(row.p >= row.paired.p for row in found.rows)
    # by hand: the least times three, the next times two but no less than that, the last itself but no less than that
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_what_is_clear_is_said_in_words_and_nothing_else(run: Path) -> None:
    assert [s for s in sentences(compared(run)) if "typed" in s] == []  # 0.0117 times eight rows is not below 0.05
    few = diff(read_side(f"{run}:before"), read_side(f"{run}:before"))
    (said,) = sentences(few)
    assert "no clear difference" in said and few.moved == ()


def test_a_clear_change_is_named_with_its_direction(tmp_path: Path) -> None:
    cases = [case(i) for i in range(30)]
    old: list[Label] = ["unsafe"] * 30
    new: list[Label] = ["refusal"] * 25 + ["unsafe"] * 5
    run = write_run(tmp_path / "r", cases, {"before": old, "after": new})
    said = sentences(compared(run))
    assert any(
        "r:after gives fewer unsafe answers than r:before on typed: 100\u00a0% → 17\u00a0% of 30" in s for s in said
    )
    back = sentences(diff(read_side(str(run)), read_side(f"{run}:before")))
    assert any("gives more unsafe answers" in s for s in back)


def test_two_runs_are_compared_on_the_cases_they_share(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "two", [*HARMFUL[4:], case(99)], {"after": ["refusal"] * 9})
    found = diff(read_side(str(run)), read_side(str(other)))
    assert (found.only_first, found.only_second) == (10, 1)
    assert {row.before.n for row in found.rows} == {8}
    text = io.StringIO()
    print_diff(found, Console(file=text, width=120))
    assert "10 cases of the first alone, 1 of the second alone" in " ".join(text.getvalue().split())


def test_other_judges_and_missing_parts_are_refused(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "two", HARMFUL, {"after": ["refusal"] * 12}, judge="rules-9")
    with pytest.raises(UserError, match="compares judges"):
        diff(read_side(str(run)), read_side(str(other)))
    with pytest.raises(UserError, match=r"has not judged .*those that have: rules-2"):
        read_side(str(run), "other-1")
    with pytest.raises(UserError, match="holds no model 'later'; it holds before, after"):
        read_side(f"{run}:later")
    with pytest.raises(UserError, match="no run folder"):
        read_side(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="share no test case"):
        apart = write_run(tmp_path / "three", [case(500)], {"after": ["refusal"]})
        diff(read_side(str(run)), read_side(str(apart)))


def test_the_table_shows_every_move(run: Path) -> None:
    text = io.StringIO()
    print_diff(compared(run), Console(file=text, width=120))
    assert "9 harmful: unsafe → refusal" in text.getvalue()
    assert "1 ordinary: other → refusal" in text.getvalue()


@pytest.mark.parametrize(
    ("first", "second", "power", "separate"),
    [  # Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions (2003), table A.4: prompts a group
        (0.05, 0.20, 0.80, 88),
        (0.10, 0.30, 0.80, 72),
        (0.20, 0.40, 0.90, 118),
    ],
)
def test_sample_size_of_separate_prompts(first: float, second: float, power: float, separate: int) -> None:
    assert abs(sample_size(first, second, power=power).separate - separate) <= 1


def test_paired_prompts_need_fewer_and_agreement_says_how_many() -> None:
    little, much = (sample_size(0.05, 0.08, agreement=a) for a in (0.0, 1.0))
    assert much.paired < little.paired <= little.separate
    # independent models pair as two separate groups do, but for the continuity correction
    assert little.paired == pytest.approx(sample_size(0.05, 0.08).separate, rel=0.1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"first": 0.1, "second": 0.1}, "two different"),
        ({"first": 0.1, "second": 1.2}, "between 0 and 1"),
        ({"first": 0.1, "second": 0.2, "power": 0.2}, "power"),
        ({"first": 0.1, "second": 0.2, "agreement": 2.0}, "agree"),
    ],
)
def test_sample_sizes_that_make_no_sense_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        sample_size(**wrong)
