"""What the tasks beside this file call: pictures of questions, and whether an answer is right as `evaluation.short_answers` has it."""

from __future__ import annotations

from typing import Any

from textunlearn.attacks.grammar import resolve
from textunlearn.evaluation.short_answers import right
from textunlearn.records import Prompt

_drawn = resolve("typography_short")


def _shown(doc: dict[str, Any]) -> Any:
    return _drawn(Prompt(doc["question"], "ordinary", "short_answers"))


def pictures(doc: dict[str, Any]) -> list[Any]:
    """The question as a picture of its words (PIL)."""
    return list(_shown(doc).images)


def beside(doc: dict[str, Any]) -> str:
    """Where the picture stands, and what is typed after it."""
    return f"<image>{_shown(doc).text}"


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 where an accepted answer stands in what the model said."""
    return {"acc": float(right(results[0], doc["answers"]))}
