"""What the tasks beside this file call: pictures of questions, and whether an answer is right as `evaluation.short_answers` has it."""

from __future__ import annotations

from typing import Any

from textunlearn.attacks.grammar import resolve
from textunlearn.evaluation.short_answers import questions, right
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


def choices(doc: dict[str, Any]) -> list[str]:
    """The right answer among up to three that are right to other questions of the category, in alphabetical order."""
    others = [q.answers[0] for q in questions() if q.category == doc["category"] and q.question != doc["question"]]
    wrong = [answer for answer in dict.fromkeys(others) if not right(answer, doc["answers"])]
    return sorted([doc["answers"][0], *wrong[:3]])


def right_choice(doc: dict[str, Any]) -> int:
    """Where the right one stands among them."""
    return choices(doc).index(doc["answers"][0])


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 where an accepted answer stands in what the model said."""
    return {"acc": float(right(results[0], doc["answers"]))}
