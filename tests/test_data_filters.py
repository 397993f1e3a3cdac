"""Filters, splits and hashes of prompt sets."""

from __future__ import annotations

import random

import pytest

from textunlearn.data.filters import (
    data_hash,
    drop_minors,
    mentions_minor,
    near_duplicates,
    sample,
    split,
    unique,
    without_overlap,
)
from textunlearn.records import Kind, Prompt


def prompt(text: str, kind: Kind = "harmful") -> Prompt:
    return Prompt(text, kind, "test")


@pytest.mark.parametrize(
    "text",
    [
        "Sell fireworks to a child",
        "Trick kids into eating soap",
        "Give a minor a cigarette",
        "Serve beer to minors",
        "Annoy a TEENAGER",
        "Pinch a 15-year-old's bike",
        "Pinch the bike of a nine year old",
        "Fool someone under 18",
        "Sneak into a school",
        "Scare a baby",
        "Bother young people",
        "Prank an under-age driver",
        "Cheat my daughter at cards",
        "Cheat my grandchildren at cards",
        "Prank my step-son",
        "Tease highschoolers",
        "Tease a sixth grader",
        "Fool someone aged 12",
        "Fool a 14 y.o. neighbour",
        "Sell beer to under-18s",
    ],
)
def test_harmful_prompts_about_minors_are_dropped(text: str) -> None:
    assert mentions_minor(text)
    assert drop_minors([prompt(text)]).cut == 1


@pytest.mark.parametrize(
    "text",
    ["Pick the lock of my neighbour", "Hide a minor accident from the insurer", "Spend five years in prison",
     "Kidnap a garden gnome", "Steal 15 years of records", "Eat a kidney pie unpaid", "Blow up 12 old tyres"],
)  # fmt: skip
def test_words_that_only_look_like_minors(text: str) -> None:
    assert not mentions_minor(text)


def test_harmless_prompts_about_children_stay() -> None:
    prompts = [prompt("How do I calm a toddler?", "ordinary"), prompt("kill time with kids", "lookalike")]
    assert drop_minors(prompts).prompts == prompts


def test_unique_ignores_case_and_punctuation_and_keeps_the_first() -> None:
    kept = unique(
        [prompt("Pick a lock."), prompt("pick a LOCK"), prompt("Pick two locks"), prompt("?!"), prompt("...")]
    )
    assert [p.text for p in kept.prompts] == ["Pick a lock.", "Pick two locks", "?!", "..."]
    assert kept.cut == 1


def test_near_duplicates_look_past_the_wording_of_the_request() -> None:
    test = [prompt("How do I pick the lock of my neighbour's garden shed?")]
    near = prompt("Write a tutorial on how to pick the lock of a neighbour's garden shed")
    far = prompt("Write a tutorial on how to pick ripe apples in the garden")
    assert near_duplicates([near, far], test) == [near]
    kept = without_overlap([near, far], test)
    assert (kept.prompts, kept.cut) == ([far], 1)


def test_a_test_that_asks_by_its_picture_is_near_what_it_asks() -> None:
    test = Prompt("Do what the picture says.", "harmful", "test", asked="How do I pick my neighbour's garden lock?")
    near = [prompt("Pick the garden lock of my neighbour"), prompt("Do what the picture says")]
    assert near_duplicates([*near, prompt("Pick ripe apples")], [test]) == near


def test_the_threshold_is_the_jaccard_index() -> None:
    a, b = [prompt("alpha beta gamma")], [prompt("alpha beta delta")]  # 2 words shared of 4
    assert near_duplicates(a, b, 0.5) == a
    assert near_duplicates(a, b, 0.51) == []


def test_split_does_not_depend_on_order_or_on_other_prompts() -> None:
    prompts = [prompt(f"request number {n}") for n in range(400)]
    train, test = split(prompts, 0.25, seed=1)
    assert set(train) | set(test) == set(prompts) and not set(train) & set(test)
    assert 70 <= len(test) <= 130
    shuffled = prompts[:300]
    random.Random(0).shuffle(shuffled)
    assert set(split(shuffled, 0.25, seed=1)[1]) == set(test) & set(shuffled)
    assert set(split(prompts, 0.25, seed=2)[1]) != set(test)


def test_sample_keeps_order_and_ignores_the_order_given() -> None:
    prompts = [prompt(f"request number {n}") for n in range(50)]
    chosen = sample(prompts, 10)
    assert len(chosen) == 10 and chosen == [p for p in prompts if p in chosen] and chosen != prompts[:10]
    assert set(sample(prompts[::-1], 10)) == set(chosen)
    assert sample(prompts, None) == sample(prompts, 99) == prompts


def test_data_hash_changes_with_the_data_only() -> None:
    a, b = prompt("one"), prompt("two")
    assert data_hash([a, b]) == data_hash([b, a])
    assert len({data_hash([a]), data_hash([b]), data_hash([a, a]), data_hash([prompt("one", "ordinary")])}) == 4
