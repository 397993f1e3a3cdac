"""What counts as right, form by form: against examples worked out by hand from the publishers' rules."""

from __future__ import annotations

import pytest

from textunlearn.errors import UserError
from textunlearn.evaluation.forms import FORMS, ByAnswer, ByLikelihood
from textunlearn.evaluation.forms.generated import choice_in
from textunlearn.evaluation.forms.number import plain
from textunlearn.evaluation.forms.short_answer import normalised, soft_accuracy
from textunlearn.evaluation.forms.yes_no import PARTS, said
from textunlearn.records import Question

ASKED = Question("Which?", "s", ("a dog", "iron", "iron oxide"), 2)


def answered(form: str, question: Question, text: str) -> tuple[float, ...]:
    part = FORMS.get(form)
    assert isinstance(part, ByAnswer)
    return part.score(question, text)


def test_a_form_there_is_not() -> None:
    with pytest.raises(
        UserError, match=r"no form of questions called 'x'; choose one of: continuation, generated, letters"
    ):
        FORMS.get("x")


def test_whole_likelihoods_and_likelihoods_by_length() -> None:
    letters, continuation = FORMS.get("letters"), FORMS.get("continuation")
    assert isinstance(letters, ByLikelihood) and isinstance(continuation, ByLikelihood)
    # a character of "iron oxide" is the likeliest (-0.9), all of "iron" is (-8)
    assert continuation.score(ASKED, (-10.0, -8.0, -9.0)) == (0.0, 1.0)
    assert letters.score(ASKED, (-3.0, -2.0, -1.0)) == (1.0,)
    assert letters.continuations(ASKED) == ("A", "B", "C")
    assert letters.body(ASKED) == "Which?\nA. a dog\nB. iron\nC. iron oxide"
    listed = Question("Which? A: 1, B: 2", "s", ("A", "B"), 0, listed=True)
    assert letters.body(listed) == listed.text


def test_guessing() -> None:
    two = Question("?", "s", ("x", "y"), 0)
    assert FORMS.get("continuation").chances([ASKED, two]) == {
        k: pytest.approx(5 / 12) for k in ("accuracy", "accuracy_norm")
    }
    assert FORMS.get("yes_no").chances([]) == {"accuracy": 0.5, "accuracy_plus": 0.25}
    assert FORMS.get("number").chances([Question("?", "s", answers=("1",))])["accuracy"] is None


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("A", 0), ("b", 1), ("(C)", 2), ("C. iron oxide", 2), ("**B**", 1), ("B\nBecause it is.", 1), ("Option C", 2),
        ("The answer is C.", 2), ("Answer: B", 1), ("The correct answer is option C", 2), ("I think the answer is B because", 1),
        ("A dog", 0), ("It is iron oxide.", 2), ("It is iron.", 1), ("a dog or iron", None), ("D", None), ("Cats", None),
        ("I do not know", None), ("", None), ("Both", None),
    ],
)  # fmt: skip
def test_which_choice_an_answer_names(text: str, choice: int | None) -> None:
    assert choice_in(text, ASKED) == choice


@pytest.mark.parametrize(
    ("text", "flexible", "strict"),
    [
        ("First 3, then 4.\n#### 1,200", 1, 1),
        ("It costs $1,200.", 1, 0),
        ("#### 7 no, it is 1200", 1, 0),
        ("#### 1200 of 3000", 0, 1),
        ("1200\n\nQuestion: How many are 5 and 6?", 1, 0),
        ("1200.00", 0, 0),
        ("many", 0, 0),
    ],
)
def test_the_number_that_counts(text: str, flexible: float, strict: float) -> None:
    assert answered("number", Question("How much?", "s", answers=("1,200",)), text) == (flexible, strict)
    assert plain("-$1,200.") == "-1200"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Yes", "yes"), ("no.", "no"), ("Y", "yes"), ("n", "no"), ("x", "other"), (" Yes, there is.", "yes"), ("No, it's not", "no"),
        ("There is no bell", "other"), ("It is", "other"), ("", "other"), ("Y.", "yes"),
    ],
)  # fmt: skip
def test_yes_and_no(text: str, word: str) -> None:
    assert said(text) == word


def test_mme_counts_questions_pictures_and_tasks() -> None:
    form = FORMS.get("yes_no")
    questions, scores = [], []
    for task in (*PARTS["perception"], "code_reasoning"):
        for picture, right in (("1", (1.0, 1.0)), ("2", (1.0, 0.0))):
            for answer, score in zip(("yes", "no"), right, strict=True):
                name = "OCR" if task == "ocr" else task
                questions.append(
                    Question(
                        f"{task}{picture}{answer}", "mme", answers=(answer,), category=name, group=f"{task}{picture}"
                    )
                )
                scores.append((score,))
    rates = form.rates(questions, scores)
    assert (rates["accuracy"].k, rates["accuracy"].n) == (33, 44)
    assert (rates["accuracy_plus"].k, rates["accuracy_plus"].n) == (11, 22)
    # each task: 75 % of questions and 50 % of pictures; cognition lacks three of its tasks
    assert form.totals(questions, scores) == {"perception": pytest.approx(1250)}
    half = form.rates(questions[1:], scores[1:])
    assert half["accuracy_plus"].n == 21, "a picture with one answer missing counts in neither"


@pytest.mark.parametrize(
    ("text", "plain_text"),
    [
        ("The Bell", "bell"), ("two dogs.", "2 dogs"), ("dont", "don't"), ("3.5 miles", "3.5 miles"), ("1,000", "1000"),
        ("red/blue", "red blue"), ("red / blue", "red  blue".replace("  ", " ")), ("What?", "what"), ("none", "0"), ("bell's", "bell 's"),
    ],
)  # fmt: skip
def test_vqa_spelling(text: str, plain_text: str) -> None:
    assert normalised(text) == plain_text


def test_soft_accuracy_of_ten_people() -> None:
    def people(agreeing: int) -> tuple[str, ...]:
        return ("a bell",) * agreeing + tuple(f"other {n}" for n in range(10 - agreeing))

    # 1 agrees: nine of ten leave-outs keep it (1/3 each); 2: eight keep both, two keep one; 3: seven and three; 4 or more: 1
    assert [soft_accuracy("Bell.", people(n)) for n in (0, 1, 2, 3, 4, 10)] == pytest.approx(
        [0, 0.9 / 3, (8 * 2 + 2 * 1) / 30, (7 * 3 + 3 * 2) / 30, 1, 1]
    )
    assert answered("short_answer", Question("?", "s", answers=people(4)), "bell") == (1.0,)
    assert soft_accuracy("bell", ("a bell",)) == 1
