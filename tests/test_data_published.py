"""The real packages, as published. Skipped where the package index cannot be reached."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from textunlearn.data.actions import action
from textunlearn.data.filters import data_hash, mentions_minor, near_duplicates
from textunlearn.data.forms import classify_form
from textunlearn.data.loading import load, load_counted
from textunlearn.data.training_set import TESTS, make_splits
from textunlearn.errors import UserError
from textunlearn.records import Kind, Prompt

SHARED = Path(__file__).parents[2] / "shared" / "data"


def published(name: str) -> list[Prompt]:
    try:
        return load(name)
    except UserError as error:
        if "could not download" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize(
    ("name", "rows"),
    [("advbench", 520), ("harmbench", 159), ("harmbench_validation", 41), ("strongreject", 313), ("donotanswer", 939)],
)
def test_every_row_is_read_or_about_minors(name: str, rows: int) -> None:
    prompts = published(name)
    kind: Kind = "harmful"
    assert {(p.kind, p.source) for p in prompts} == {(kind, name)}
    assert len(prompts) + load_counted(name).cut == rows
    assert 0.9 * rows < len(prompts) < rows
    assert all(p.form and p.text == p.text.strip() and not mentions_minor(p.text) for p in prompts)
    assert all(p.category for p in prompts)


def test_the_sets_and_splits_stay_what_published_results_were_made_with() -> None:
    """How a set is read may change, its prompts may not: every case id and stored answer hangs on them."""
    wanted = {
        "advbench": "9658eb98ff355226",
        "harmbench": "496206f958ee1c08",
        "harmbench_validation": "4b9ade4548a31b8d",
        "strongreject": "5e7eeb049196cbbc",
        "xstest_safe": "9a683d16049a2ec8",
        "self_instruct_user": "98250282722f074d",
    }
    assert {name: data_hash(published(name)) for name in wanted} == wanted
    assert make_splits().hashes()["harmful_train"] == "5842650435e0d143"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "file", "column"),
    [
        ("advbench", "advbench/harmful_behaviors.csv", "goal"),
        ("harmbench+harmbench_validation", "harmbench/harmbench_behaviors_text_standard.csv", "Behavior"),
    ],
)
def test_the_packages_hold_the_published_data(name: str, file: str, column: str) -> None:
    """The copy beside the repository is another one of the same data; it too is without rows on minors."""
    if not (SHARED / file).exists():
        pytest.skip(f"../shared/data/{file} is not here")
    prompts = {p.text for part in name.split("+") for p in published(part)}
    with (SHARED / file).open(encoding="utf-8", newline="") as handle:
        copy = {row[column].strip() for row in csv.DictReader(handle)}
    assert prompts <= copy
    assert all(mentions_minor(text) for text in copy - prompts), "only rows that mention minors differ"


def test_nearly_every_advbench_goal_can_be_reworded() -> None:
    prompts = published("advbench")
    assert sum(action(p.text) is not None for p in prompts) >= 0.95 * len(prompts)


def test_the_default_training_set() -> None:
    published("advbench"), published("harmbench"), published("strongreject")
    splits = make_splits()
    sizes = {name: len(prompts) for name, prompts in splits.parts().items()}
    assert sizes["harmful_train"] >= 300 and sizes["harmful_validation"] >= 40
    assert min(sizes["lookalike_train"], sizes["ordinary_train"]) >= 500
    for name in ("harmful_train", "harmful_validation"):
        prompts = splits.parts()[name]
        assert sum(classify_form(p.text) == p.form for p in prompts) >= 0.95 * len(prompts)
        assert not {p.text for p in prompts} & {p.text for p in load("strongreject") + load("harmbench")}


def test_rewording_brings_no_training_prompt_near_a_held_out_one() -> None:
    published("advbench"), published("harmbench"), published("strongreject")
    tests = [prompt for name in TESTS for prompt in load(name)]
    splits = make_splits(seed=5)  # a seed at which it would: 2 near a test set, 9 near validation
    assert not near_duplicates(splits.harmful_train, [*tests, *splits.harmful_validation])
    assert not near_duplicates(splits.harmful_validation, tests)
