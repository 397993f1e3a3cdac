"""A worked answer whose last number counts: as GSM8K is scored (lm-evaluation-harness' gsm8k, version 3).

``accuracy`` takes the last number anywhere in the answer ("flexible"), ``accuracy_strict`` only what follows "####", which a model writes
that was shown examples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from textunlearn.data.questions import Wording
from textunlearn.evaluation.forms import FORMS, ByAnswer
from textunlearn.records import Question

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_NEXT = "Question:"
"""Where a model goes on to make up the next question, its answer has ended."""


class Number(ByAnswer):
    about = "a worked answer; its last number counts"
    measures: ClassVar[Mapping[str, str]] = {
        "accuracy": "accuracy, last number",
        "accuracy_strict": "accuracy, number after ####",
    }
    wording = Wording("", "Question: ", "\nAnswer:")
    max_new_tokens = 256

    def score(self, question: Question, text: str) -> tuple[float, ...]:
        said = text.partition(_NEXT)[0]
        strict, flexible = _STRICT.findall(said)[:1], _FLEXIBLE.findall(said)[-1:]
        wanted = plain(question.answers[0])
        return tuple(float(bool(found) and plain(found[0]) == wanted) for found in (flexible, strict))


def plain(number: str) -> str:
    """``number`` without thousands commas, dollar sign and a full stop at its end: "$1,200." is "1200"."""
    return number.strip().replace(",", "").replace("$", "").removesuffix(".").casefold()


FORMS.register("number")(Number())
