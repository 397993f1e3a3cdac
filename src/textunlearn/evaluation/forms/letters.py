"""Choices under letters, and the likeliest letter counts: as MMLU is scored (Hendrycks et al. 2021; lm-evaluation-harness' mmlu)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textunlearn.data.questions import LETTERS, Wording, with_choices
from textunlearn.evaluation.forms import FORMS, ByLikelihood, best
from textunlearn.records import Question


class Letters(ByLikelihood):
    about = "choices under letters; the likeliest letter counts"
    measures: ClassVar[Mapping[str, str]] = {"accuracy": "accuracy"}
    wording = Wording("", "", "\nAnswer:")

    def body(self, question: Question) -> str:
        return with_choices(question.text, () if question.listed else question.choices)

    def continuations(self, question: Question) -> tuple[str, ...]:
        return tuple(LETTERS[: len(question.choices)])

    def unfit(self, question: Question) -> str:
        if len(question.choices) > len(LETTERS):
            return f"it has more than {len(LETTERS)} choices"
        return super().unfit(question)

    def score(self, question: Question, values: Sequence[float]) -> tuple[float, ...]:
        return (float(best(values) == question.right),)


FORMS.register("letters")(Letters())
