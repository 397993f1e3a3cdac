"""A short answer held against ten people's: VQA's soft accuracy (Antol et al. 2015, arXiv 1505.00468), as TextVQA's challenge counts it.

An answer that at least three of the other nine people gave is right; two give two thirds, one a third; the mean over leaving out
each person in turn. Both sides are put into one spelling first, by the rules of the challenge's server.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import ClassVar

from textunlearn.data.questions import Wording
from textunlearn.evaluation.forms import FORMS, ByAnswer
from textunlearn.records import Question

ENOUGH = 3
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(_WORDS)} | {"none": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
_MARKS = ';/[]"{}()=+\\_-><@`!'
_FULL_STOP = re.compile(r"\.(?!\d)")
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd how'll
how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't shan't she'd've
should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd
something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've
we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's
won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


class ShortAnswer(ByAnswer):
    about = "a short answer; right as far as people gave it too"
    measures: ClassVar[Mapping[str, str]] = {"accuracy": "soft accuracy"}
    wording = Wording("", "", "\nAnswer the question using a single word or phrase.")

    def score(self, question: Question, text: str) -> tuple[float, ...]:
        return (soft_accuracy(text, question.answers),)


def soft_accuracy(text: str, answers: tuple[str, ...]) -> float:
    """From 0 to 1; with fewer than four people, each answer is compared with all of them."""
    given = Counter(map(normalised, answers))
    same = given[normalised(text)]
    if len(answers) <= ENOUGH:
        return float(same > 0)
    # leaving out one of the `same` who agree, or one of the others who do not
    left = same * min(1.0, (same - 1) / ENOUGH) + (len(answers) - same) * min(1.0, same / ENOUGH)
    return left / len(answers)


def normalised(text: str) -> str:
    """Lower case, without marks, articles and full stops that are no decimal points; "two" as "2", "dont" as "don't"."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    text = text.replace("\n", " ").replace("\t", " ").strip()
    out = text
    for mark in _MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if beside_space else " ")
    out = _FULL_STOP.sub("", out)
    words = (_NUMBERS.get(word, word) for word in out.split())
    return " ".join(_apostrophes().get(word, word) for word in words if word not in _ARTICLES)


@cache
def _apostrophes() -> dict[str, str]:
    """Contractions with some of their apostrophes left out -> as they are written."""
    out: dict[str, str] = {}
    for word in _CONTRACTED.split():
        first, *rest = word.split("'")
        for marks in product(("'", ""), repeat=len(rest)):
            bare = first + "".join(mark + part for mark, part in zip(marks, rest, strict=True))
            out.setdefault(bare, word)
    return out


FORMS.register("short_answer")(ShortAnswer())
