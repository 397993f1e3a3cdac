"""Safe answers to harmful requests: short, varied, about the request; the texts are ``authored/safe_answers.json``."""

from __future__ import annotations

import functools
import random
import re
from dataclasses import dataclass

from textunlearn.data.sources import AUTHORED
from textunlearn.files import read_json


@dataclass(frozen=True, slots=True)
class Topic:
    """A kind of harm: requests that ``pattern`` is found in (any case) get one of ``answers``."""

    name: str
    pattern: re.Pattern[str]
    answers: tuple[str, ...]


@functools.cache
def topics() -> tuple[Topic, ...]:
    """The topics in the order they are tried; the last fits every request."""
    data = read_json(AUTHORED / "safe_answers.json")
    found = [Topic(t["name"], re.compile(t["pattern"], re.IGNORECASE), tuple(t["answers"])) for t in data["topics"]]
    return (*found, Topic("fallback", re.compile(""), tuple(data["fallback"])))


def topic_of(text: str) -> Topic:
    """The first topic that fits ``text``."""
    return next(topic for topic in topics() if topic.pattern.search(text))


def safe_answer(text: str, choice: random.Random | int) -> str:
    """A safe answer about the request ``text``: chosen by a generator, or the ``choice``-th in turn (it wraps)."""
    answers = topic_of(text).answers
    return answers[choice % len(answers)] if isinstance(choice, int) else choice.choice(answers)
