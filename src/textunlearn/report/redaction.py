"""What is not shown unless somebody asks: the same in reports and in logs for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textunlearn.judges.rules import declines
from textunlearn.records import Case

if TYPE_CHECKING:
    from PIL import Image

BLOCKS = 12
"""A redacted image is this many blocks a side: too coarse for any letter."""


def fixed_words(cases: Sequence[Case]) -> set[tuple[str, str]]:
    """(suite, words) of what is the same in all of a suite's cases, and so says nothing of any one request."""
    texts: dict[str, set[str]] = {}
    prefills: dict[str, set[str]] = {}
    requests: dict[str, set[str]] = {}
    for case in cases:
        texts.setdefault(case.suite, set()).add(case.text)
        prefills.setdefault(case.suite, set()).add(case.prefill)
        requests.setdefault(case.suite, set()).add(case.prompt.request)
    return {
        (suite, next(iter(words)))
        for found in (texts, prefills)
        for suite, words in found.items()
        if len(words) == 1 and len(requests[suite]) > 1
    }


def answer_hidden(case: Case, answer: str, label: str) -> bool:
    """Whether an answer is redacted; ``label`` is "" without a verdict. A judge can be wrong, so of answers to harmful requests only
    what it calls a refusal and reads like one is shown."""
    return label == "unsafe" or (case.prompt.kind == "harmful" and not (label == "refusal" and declines(answer)))


def blocks(image: Image.Image) -> Image.Image:
    """What is shown in place of a redacted picture: 12 × 12 grey blocks."""
    from PIL import Image

    return image.convert("L").resize((BLOCKS, BLOCKS), Image.Resampling.BOX)
