"""The request as the next turn of a written-out talk in which every question was answered.

In-context attacks (arXiv 2310.06387) and many-shot jailbreaking (Anil et al., NeurIPS 2024) put answered *harmful* questions there.
The shots here are harmless and authored for this project: they measure what the pattern of answering alone does, and are a lower
bound of those attacks. A file of your own with the columns question and answer replaces them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.attacks.parameters import Seed, shuffled
from textunlearn.data.rows import read_rows
from textunlearn.errors import UserError
from textunlearn.records import Prompt

SHIPPED = Path(__file__).with_name("shots.jsonl")
QUESTION, ANSWER = "question", "answer"
TURN = "User: {question}\nAssistant: {answer}"
Shot = tuple[str, str]


def read_shots(path: str | Path) -> tuple[Shot, ...]:
    """``(question, answer)`` of each row. UserError for a file without both columns or without rows."""
    rows = read_rows(Path(path))
    for row in rows:
        if lacking := [name for name in (QUESTION, ANSWER) if not str(row.values.get(name) or "").strip()]:
            raise UserError(
                f"{path} line {row.line} has nothing in the column {lacking[0]!r}; a file of shots needs the columns "
                f"{QUESTION!r} and {ANSWER!r}"
            )
    if not rows:
        raise UserError(f"{path} holds no shot; give a file with at least one")
    return tuple((str(row.values[QUESTION]).strip(), str(row.values[ANSWER]).strip()) for row in rows)


@cache
def shipped() -> tuple[Shot, ...]:
    """The authored harmless shots."""
    return read_shots(SHIPPED)


@ATTACKS.register("few_shot")
def few_shot(
    prompt: Prompt,
    shots: Annotated[int, Field(ge=1, le=10_000, description="answered questions before the request")] = 4,
    file: Annotated[
        Sequence[Shot] | None, BeforeValidator(read_shots), Field(description="columns question and answer")
    ] = None,
    seed: Seed = 0,
) -> Shown:
    """The request after answered harmless questions, chosen and ordered for each prompt by hash."""
    pool = shipped() if file is None else file
    if shots > len(pool):
        raise UserError(f"few_shot has {len(pool)} shots, not {shots}; ask for fewer or give a file with more")
    chosen = shuffled(pool, "few_shot", prompt, seed, lambda shot: shot[0])[:shots]
    # replace, one after the other: questions may hold braces
    turns = [TURN.replace("{answer}", answer).replace("{question}", question) for question, answer in chosen]
    return Shown("\n\n".join([*turns, f"User: {prompt.text}\nAssistant:"]))
