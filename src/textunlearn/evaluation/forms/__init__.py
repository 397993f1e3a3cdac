"""How a question of a benchmark is answered, and what counts as right: one file a form, registered with ``@FORMS.register(name)``.

A form is a `ByLikelihood` (the model's likelihood of each choice is compared; nothing is generated) or a `ByAnswer` (the model answers, and
what it said is read). Each says what is typed for a question and scores it from 0 to 1 in one or more measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from textunlearn.data.questions import Wording
from textunlearn.evaluation.statistics import Rate
from textunlearn.records import Question
from textunlearn.registry import Registry


class Form(ABC):
    """What all forms share."""

    about: ClassVar[str]
    """One line for lists."""
    measures: ClassVar[Mapping[str, str]]
    """Key of each measure -> what a report calls it, the main one first."""
    wording: ClassVar[Wording] = Wording("", "", "")
    """What stands around questions whose set is made for another form."""
    chooses: ClassVar[bool] = False
    """Whether it is for questions with choices only."""

    def body(self, question: Question) -> str:
        """The question as it is shown."""
        return question.text

    def shown_answer(self, question: Question) -> str:
        """What an example is answered with."""
        return question.solution or question.answers[0]

    def unfit(self, question: Question) -> str:
        """Why a question cannot be put in this form; "" where it can."""
        if self.chooses:
            return "" if question.choices else "it has no choices"
        return "" if question.answers else "it has no accepted answers"

    def chance(self, question: Question) -> float | None:
        """Score in the main measure that guessing gives on average; None where guessing is no use."""
        return 1 / len(question.choices) if self.chooses else None

    def rates(self, questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> dict[str, Rate]:
        """Each measure over all questions; ``scores`` has a row a question. Means of scores that are no plain yes and no have
        Wilson's interval too, which is wide enough for them: nothing between 0 and 1 varies more than yes and no."""
        return {
            name: Rate(min(sum(row[column] for row in scores), len(scores)), len(scores))
            for column, name in enumerate(self.measures)
        }

    def chances(self, questions: Sequence[Question]) -> dict[str, float | None]:
        """What guessing gives in each measure, over all questions."""
        each = [self.chance(question) for question in questions]
        known = [chance for chance in each if chance is not None]
        mean = sum(known) / len(known) if known and len(known) == len(each) else None
        return dict.fromkeys(self.measures, mean)

    def totals(self, questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> dict[str, float]:
        """Figures beyond rates, where the field has some."""
        return {}


class ByLikelihood(Form):
    """For models in memory: an endpoint gives no likelihoods."""

    chooses = True

    @abstractmethod
    def continuations(self, question: Question) -> tuple[str, ...]:
        """What the model's turn would begin with, for each choice."""

    @abstractmethod
    def score(self, question: Question, values: Sequence[float]) -> tuple[float, ...]:
        """From the log-likelihood of each continuation, in nats."""

    def shown_answer(self, question: Question) -> str:
        return self.continuations(question)[question.right]


class ByAnswer(Form):
    """For models in memory and behind endpoints."""

    max_new_tokens: ClassVar[int] = 16

    @abstractmethod
    def score(self, question: Question, text: str) -> tuple[float, ...]:
        """From what the model said."""


FORMS: Registry[Form] = Registry("form of questions", "textunlearn.evaluation.forms")


def best(values: Sequence[float]) -> int:
    """Index of the largest; of equals the first."""
    return max(range(len(values)), key=values.__getitem__)
