"""Yes or no, two questions about each picture: as MME is scored (Fu et al. 2023).

``accuracy`` counts questions, ``accuracy_plus`` pictures of which both answers are right. MME's score of a task is the sum of the two in
per cent; those of its ten tasks of perception add up to at most 2000, those of its four tasks of cognition to 800.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar

from textunlearn.data.questions import Wording
from textunlearn.evaluation.forms import FORMS, ByAnswer
from textunlearn.evaluation.statistics import Rate
from textunlearn.records import Question

PARTS = {
    "perception": (
        "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "ocr",
    ),
    "cognition": ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
}  # fmt: skip


class YesNo(ByAnswer):
    about = "yes or no; both questions about a picture count together too"
    measures: ClassVar[Mapping[str, str]] = {"accuracy": "accuracy", "accuracy_plus": "both of a picture right"}
    wording = Wording("", "", " Please answer yes or no.")

    def unfit(self, question: Question) -> str:
        return "" if set(question.answers) in ({"yes"}, {"no"}) else "its answer is neither yes nor no"

    def chance(self, question: Question) -> float | None:
        return 0.5

    def score(self, question: Question, text: str) -> tuple[float, ...]:
        return (float(said(text) == question.answers[0]),)

    def rates(self, questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> dict[str, Rate]:
        single = [row[0] for row in scores]
        both = [min(group) for group in _groups(questions, single).values() if len(group) == 2]
        return {
            "accuracy": Rate(sum(single), len(single)),
            "accuracy_plus": Rate(sum(both), len(both)),
        }

    def chances(self, questions: Sequence[Question]) -> dict[str, float | None]:
        return {"accuracy": 0.5, "accuracy_plus": 0.25}

    def totals(self, questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> dict[str, float]:
        """MME's scores of the parts of which every task was asked."""
        tasks: dict[str, list[int]] = defaultdict(list)
        for index, question in enumerate(questions):
            tasks[question.category.casefold()].append(index)
        out = {}
        for part, names in PARTS.items():
            if all(name in tasks for name in names):
                out[part] = sum(
                    self._task([questions[i] for i in tasks[name]], [scores[i] for i in tasks[name]]) for name in names
                )
        return out

    def _task(self, questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> float:
        return 100 * sum(rate.value or 0.0 for rate in self.rates(questions, scores).values())


def _groups(questions: Sequence[Question], scores: Sequence[float]) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = defaultdict(list)
    for question, score in zip(questions, scores, strict=True):
        if question.group:
            groups[question.group].append(score)
    return groups


def said(text: str) -> str:
    """ "yes", "no" or "other": the whole answer, "y" or "n", or what stands in its first four characters, as MME's own tool reads it."""
    plain = text.casefold().strip().replace(".", "")
    if len(plain) == 1:
        return {"y": "yes", "n": "no"}.get(plain, "other")
    return next((word for word in ("yes", "no") if word in plain[:4]), "other")


FORMS.register("yes_no")(YesNo())
