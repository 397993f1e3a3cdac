"""Does the model still know simple things? Questions with a short answer that is right or wrong, and no judge needed.

The questions are ``data/authored/short_answers.jsonl``. They are typed as a user would type them and answered greedily; an answer
counts as right when one of the accepted answers stands in it as whole words. A reader would accept a few of the wrong ones, and a
model that names many things would get some right by luck, so compare models by this figure, and do not read it as a mark.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.data.sources import AUTHORED
from textunlearn.evaluation.generation import answer_cases
from textunlearn.evaluation.statistics import Rate
from textunlearn.records import Case, Prompt, from_json

if TYPE_CHECKING:
    from textunlearn.vlm.load import Vlm

TOKENS = 16
"""Length of an answer: enough for a sentence such as "The capital of France is Paris."."""

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Question:
    """One question; each of ``answers`` is accepted."""

    question: str
    answers: tuple[str, ...]
    category: str


@functools.cache
def questions() -> tuple[Question, ...]:
    """The authored questions, in the order of the file."""
    lines = (AUTHORED / "short_answers.jsonl").read_text(encoding="utf-8").splitlines()
    read = [from_json(Question, line) for line in lines]
    return tuple(Question(q.question, tuple(q.answers), q.category) for q in read)


def normalised(text: str) -> list[str]:
    """Words and numbers of ``text``: lower case, without accents, "1,000" as "1000"; "3.5" stays one number."""
    plain = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).casefold()
    return [re.sub(r",(?=\d{3}\b)", "", word) for word in _WORD.findall(plain)]


def right(text: str, accepted: Sequence[str]) -> bool:
    """Whether one of the ``accepted`` answers stands in ``text`` as whole words, in order and side by side."""
    said = normalised(text)

    def stands(wanted: list[str]) -> bool:
        return any(said[i : i + len(wanted)] == wanted for i in range(len(said) - len(wanted) + 1))

    return any(stands(normalised(answer)) for answer in accepted)


def cases(asked: Sequence[Question]) -> list[Case]:
    """The questions as cases: typed, harmless, the first accepted answer as reference."""
    return [
        Case(
            "short_answers",
            "direct",
            Prompt(q.question, "ordinary", "short_answers", "question", q.category, q.answers[0]),
            q.question,
        )
        for q in asked
    ]


def knowledge(
    vlm: Vlm,
    store: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    asked: Sequence[Question] | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Share of the questions that ``vlm`` answers rightly: ``k``, ``n``, ``rate`` and the ends of its 95 % interval.

    Args:
        store: JSON lines of answers, one file a model; what is there is not generated again.
        progress: called with ``(answered, total)``.
        asked: the authored questions if None.
    """
    chosen = questions() if asked is None else asked
    asked_cases = cases(chosen)
    said = {a.case: a.text for a in answer_cases(vlm, asked_cases, store.parent, store, TOKENS, progress, batch_size)}
    hits = [right(said[case.id], q.answers) for case, q in zip(asked_cases, chosen, strict=True)]
    return dict(Rate(sum(hits), len(hits)).to_json())
