"""Choices under letters, and the model is asked for the letter: for endpoints, and for models that reason before they choose.

What cannot be read as a choice is wrong; nothing is guessed for the model (MMMU's own code draws a choice then).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from textunlearn.data.questions import LETTERS, Wording, with_choices
from textunlearn.evaluation.forms import FORMS, ByAnswer
from textunlearn.records import Question

_NAMED = re.compile(
    r"(?:^\W*|\b(?:answer|option|choice)\b(?:\s+is)?\W*(?:option\W+)?)"
    r"([AI](?!\w|[ \t]+\w|')|[B-HJ-Z](?!\w|'))",
    re.IGNORECASE,
)
"""A letter at the beginning of the answer, or after "answer", "option" or "choice"; not the first word of "A dog" or "I think"."""


class Generated(ByAnswer):
    about = "choices under letters; the model is asked for one"
    measures: ClassVar[Mapping[str, str]] = {"accuracy": "accuracy, asked for the letter"}
    wording = Wording("", "", "\nAnswer with the option's letter from the given choices directly.")
    chooses = True

    def body(self, question: Question) -> str:
        return with_choices(question.text, () if question.listed else question.choices)

    def shown_answer(self, question: Question) -> str:
        return LETTERS[question.right]

    def score(self, question: Question, text: str) -> tuple[float, ...]:
        return (float(choice_in(text, question) == question.right),)


def choice_in(text: str, question: Question) -> int | None:
    """Which choice an answer names: by its letter, or else by being the only one whose words stand in it. None if neither."""
    known = LETTERS[: len(question.choices)]
    for found in _NAMED.finditer(text.strip()):
        if (letter := found[1].upper()) in known:
            return known.index(letter)
    if question.listed:
        return None
    said = text.casefold()
    named = [i for i, choice in enumerate(question.choices) if _stands(choice.casefold(), said)]
    # "iron oxide" also says "iron": the longer one is meant
    named = [i for i in named if not any(question.choices[i] in question.choices[j] for j in named if j != i)]
    return named[0] if len(named) == 1 else None


def _stands(words: str, said: str) -> bool:
    return bool(words.strip()) and re.search(rf"(?<!\w){re.escape(words.strip())}(?!\w)", said) is not None


FORMS.register("generated")(Generated())
