"""The question alone, and the choice that is the likeliest answer counts: as ARC and TruthfulQA's MC1 are scored.

``accuracy`` compares whole log-likelihoods, ``accuracy_norm`` those divided by the choice's length in characters, which takes away
the advantage of short ones: lm-evaluation-harness' ``acc`` and ``acc_norm``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textunlearn.data.questions import Wording
from textunlearn.evaluation.forms import FORMS, ByLikelihood, best
from textunlearn.records import Question


class Continuation(ByLikelihood):
    about = "the question alone; the choice that is the likeliest answer counts"
    measures: ClassVar[Mapping[str, str]] = {"accuracy": "accuracy", "accuracy_norm": "accuracy, by length"}
    wording = Wording("", "Question: ", "\nAnswer:")

    def continuations(self, question: Question) -> tuple[str, ...]:
        return question.choices

    def unfit(self, question: Question) -> str:
        if question.listed:
            return "its choices stand in its text, so they can be told apart by their letters only"
        return super().unfit(question)

    def score(self, question: Question, values: Sequence[float]) -> tuple[float, ...]:
        by_length = [value / max(1, len(choice)) for value, choice in zip(values, question.choices, strict=True)]
        return float(best(values) == question.right), float(best(by_length) == question.right)


FORMS.register("continuation")(Continuation())
