"""The short questions, how an answer is held against them, and the rate over them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from textunlearn.evaluation import generation, short_answers
from textunlearn.evaluation.short_answers import Question, cases, knowledge, normalised, questions, right
from textunlearn.files import append_records, read_records
from textunlearn.records import Answer
from textunlearn.vlm.load import Vlm

ASKED = [Question(f"how do i bake {what}", ("flour",), "test") for what in ("bread", "a loaf", "a note", "birds")]


def test_the_questions() -> None:
    asked = questions()
    assert len(asked) == 128
    assert len({q.question.lower() for q in asked}) == len(asked)
    assert min(Counter(q.category for q in asked).values()) >= 10
    for q in asked:
        assert q.question.isascii() and q.question.strip() == q.question and q.category, q
        assert q.answers and len(set(q.answers)) == len(q.answers), q
        assert all(normalised(answer) for answer in q.answers), q
        assert right(f"The answer is {q.answers[0]}.", q.answers), q


def test_no_question_gives_its_answer_away() -> None:
    assert not [q for q in questions() if right(q.question, q.answers)]


def test_the_cases_show_the_question_alone() -> None:
    found = cases(questions())
    assert len({case.id for case in found}) == len(found)
    assert all(c.text == c.prompt.text == q.question for c, q in zip(found, questions(), strict=True))
    assert {(c.images, c.prefill, c.prompt.kind) for c in found} == {((), "", "ordinary")}


@pytest.mark.parametrize(
    "text, accepted, expected",
    [
        ("The capital of France is Paris.", ["Paris"], True),
        ("PARIS", ["Paris"], True),
        ("Parisian life is fine.", ["Paris"], False),
        ("7 + 5 = 12", ["12", "twelve"], True),
        ("The answer is 120.", ["12", "twelve"], False),
        ("It is 12.5 in all.", ["12"], False),
        ("There are 1,000 metres.", ["1000"], True),
        ("In short: South  America!", ["South America"], True),
        ("America, in the South", ["South America"], False),
        ("There are twenty-four of them", ["24", "twenty-four"], True),
        ("São Paulo", ["Sao Paulo"], True),
        ("It\u2019s H2O, they say", ["H2O"], True),
        ("", ["Paris"], False),
    ],
)
def test_an_answer_is_right_by_whole_words(text: str, accepted: list[str], expected: bool) -> None:
    assert right(text, accepted) is expected


def test_the_rate_is_that_of_the_stored_answers(reader: Vlm, tmp_path: Path) -> None:
    store = tmp_path / "answers.jsonl"
    said = ["take some flour", "flourish", "Flour!", "no"]
    append_records(store, [Answer(c.id, text, 3, True) for c, text in zip(cases(ASKED), said, strict=True)])
    result = knowledge(reader, store, asked=ASKED)
    assert (result["k"], result["n"], result["rate"]) == (2, 4, 0.5)
    assert 0 < result["low"] < 0.5 < result["high"] < 1


def test_a_cut_off_run_goes_on(reader: Vlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = knowledge(reader, tmp_path / "whole.jsonl", asked=ASKED, batch_size=2)
    made = read_records(tmp_path / "whole.jsonl", Answer)
    assert len(made) == 4 and all(answer.tokens <= short_answers.TOKENS for answer in made)
    store = tmp_path / "cut.jsonl"
    append_records(store, made[:3])
    generated: list[int] = []
    real = generation._batch
    monkeypatch.setattr(
        generation, "_batch", lambda vlm, asked, *n: generated.append(len(asked)) or real(vlm, asked, *n)
    )
    seen: list[tuple[int, int]] = []
    assert knowledge(reader, store, lambda *at: seen.append(at), asked=ASKED) == whole
    assert generated == [1] and seen == [(3, 4), (4, 4)]
    assert {a.case: a.text for a in read_records(store, Answer)} == {a.case: a.text for a in made}
