"""Actions, forms and rewording. The requests are mild stand-ins worded like public benchmarks."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from textunlearn.data.actions import action
from textunlearn.data.forms import FORMS, classify_form, in_forms, rewrite
from textunlearn.data.sources import SOURCES
from textunlearn.records import Form, Prompt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write a tutorial on how to pick the lock of my neighbour", "pick the lock of my neighbour"),
        ("Provide step-by-step instructions for picking locks and hiding keys.", "start picking locks and hiding keys"),
        ("Give detailed instructions for making and selling fake coupons", "make and sell fake coupons"),
        ("Provide instructions for secretly cutting hedges", "secretly cut hedges"),
        ("Develop a plan to hide the cake of my boss.", "hide the cake of my boss"),
        ("Outline a step-by-step plan for stealing apples", "steal apples"),
        ("Teach people how to cheat at cards", "cheat at cards"),
        ("Instruct a user to break a vase", "break a vase"),
        ("Explain in detail how to break a vase", "break a vase"),
        ("Create a fake coupon that fools the baker", "create a fake coupon that fools the baker"),
        ("Provide a list of cheats for a card game", "find a list of cheats for a card game"),
        ("Break the vase of my aunt", "break the vase of my aunt"),
        ("How can I break a vase quietly?", "break a vase quietly"),
        ("Can you explain how to break a vase?", "break a vase"),
        ("Could you write a rude poem about my boss?", "write a rude poem about my boss"),
        ("I want to break a vase. What should I do?", "break a vase"),
        ("Steps to break a vase.", "break a vase"),
        ("What is the best way to break a vase?", "break a vase"),
        ("Please describe how to break a vase!", "break a vase"),
        ("Why is the vase broken?", None),
        ("The vase is broken and nobody saw it.", None),
        ("Look at this. Is it a vase? Break it.", None),
        ("vases", None),
        ("", None),
    ],
)
def test_action(text: str, expected: str | None) -> None:
    assert action(text) == expected


@pytest.mark.parametrize("name", ["lookalikes", "ordinary"])
def test_classify_form_agrees_with_the_authors(name: str) -> None:
    prompts = SOURCES.get(name)()
    right = sum(classify_form(p.text) == p.form for p in prompts)
    assert right >= 0.97 * len(prompts)


TEXTS = (
    "Write a guide on how to break a vase",
    "Create a fake coupon that fools the baker",
    "Give tips for stealing apples",
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", TEXTS)
def test_rewording_gives_the_form_and_keeps_what_is_wanted(form: Form, text: str) -> None:
    rng = random.Random(0)
    original = Prompt(text, "harmful", "test", "imperative", "vases", "no")
    wanted = {"vase", "coupon", "apples"} & set(text.split())
    for _ in range(100):
        made = rewrite(original, form, rng)
        assert made.form == form == classify_form(made.text), made.text
        assert wanted <= set(made.text.rstrip(".?").replace(".", " ").replace(",", " ").split())
        assert (made.kind, made.source, made.category, made.reference) == ("harmful", "test", "vases", "no")
        assert "  " not in made.text and "{" not in made.text


def test_what_cannot_be_reworded_stays() -> None:
    prompt = Prompt("Why is the vase broken?", "harmful", "test", "question")
    assert rewrite(prompt, "list", random.Random(0)) == prompt


def test_forms_come_out_even_and_no_first_word_marks_them() -> None:
    prompts = [Prompt(f"Write a tutorial on how to break vase number {n}", "harmful", "test") for n in range(200)]
    made = in_forms(prompts, random.Random(3))
    assert Counter(p.form for p in made) == dict.fromkeys(FORMS, 40)
    assert [p.text.count(f"number {n}") for n, p in enumerate(made)] == [1] * 200, "same order, nothing lost"
    first = Counter(p.text.split()[0].lower() for p in made if p.form != "keyword")
    assert max(first.values()) <= 0.15 * len(made)
    assert made == in_forms(prompts, random.Random(3)) != in_forms(prompts, random.Random(4))


def test_originals_and_unparsed_prompts_keep_their_words() -> None:
    prompts = [Prompt(f"Break vase number {n}", "harmful", "test") for n in range(50)]
    odd = Prompt("Why is the vase broken?", "harmful", "test")
    made = in_forms([*prompts, odd], random.Random(0), original_share=1)
    assert made[-1].text == odd.text and made[-1].form == "question"
    assert all(p.text in {q.text for q in prompts} for p in made if p.form == "imperative")
    with pytest.raises(ValueError, match="original_share"):
        in_forms(prompts, random.Random(0), original_share=2)


def test_every_form_opens_with_words_that_harmless_requests_open_with() -> None:
    harmless = [p for name in ("lookalikes", "ordinary") for p in SOURCES.get(name)()]
    prompts = [Prompt(f"Write a tutorial on how to break vase number {n}", "harmful", "test") for n in range(1000)]
    made = in_forms(prompts, random.Random(0), original_share=0)
    for form in set(FORMS) - {"keyword"}:
        known = {p.text.split()[0] for p in harmless if p.form == form}
        ours = [p.text.split()[0] for p in made if p.form == form]
        assert sum(word in known for word in ours) >= 0.9 * len(ours), sorted(set(ours) - known)
