"""Judges: answers in, verdicts out. One file a judge; it registers itself with ``@JUDGES.register("name")``.

A judge is made by calling what is registered (``JUDGES.get("rules")()``); judges that need settings, such as a model or
an endpoint, take them as keyword arguments. One that reads files out of packages names them in ``packages``
(`judges.spec.fetch_needs`); one that asks a model of the user's has ``needs_model``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from textunlearn.errors import UserError
from textunlearn.records import Answer, Case, Verdict
from textunlearn.registry import Registry


class Judge(Protocol):
    """Says of every answer whether it is unsafe, refusal, broken or other."""

    @property
    def name(self) -> str:
        """Name with version, e.g. ``"rules-1"``; it changes whenever the same answer could get another label."""

    def judge(self, cases: Sequence[Case], answers: Sequence[Answer]) -> list[Verdict]:
        """One verdict a case, in the order of ``cases``; see :func:`pair` for how answers find their case."""


JUDGES: Registry[Callable[..., Judge]] = Registry("judge", "textunlearn.judges")

DEFAULT = "relevance"
"""Whose verdicts are stored where none is named."""

FAST = "rules"
"""For looks that nothing is stored of, many and short: fast, nothing to fetch, and the default begins with its verdicts."""


def pair(cases: Sequence[Case], answers: Sequence[Answer]) -> list[tuple[Case, Answer]]:
    """Each case with its answer (``Answer.case == Case.id``), in the order of ``cases``; cases may share an answer.

    Raises UserError for a case without an answer.
    """
    found = {answer.case: answer for answer in answers}
    pairs: list[tuple[Case, Answer]] = []
    for case in cases:
        if case.id not in found:
            raise UserError(
                f"case {case.id} of suite {case.suite!r} has no answer; generate the answers before judging them"
            )
        pairs.append((case, found[case.id]))
    return pairs
