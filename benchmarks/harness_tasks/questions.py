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


def typed_after(doc: dict[str, Any], _settings: object = None) -> str:
    """What is typed after the picture. lmms-eval gives settings, of which there are none."""
    return str(_shown(doc).text)


def beside(doc: dict[str, Any]) -> str:
    """The same with the place of the picture, as lm-evaluation-harness wants it."""
    return f"<image>{typed_after(doc)}"


def first_answer(doc: dict[str, Any]) -> str:
    """One of the accepted answers."""
    return str(doc["answers"][0])


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 where an accepted answer stands in what the model said."""
    return {"acc": float(right(results[0], doc["answers"]))}
