"""Harmless requests that share words or form with harmful ones, authored for this project."""

from __future__ import annotations

from textunlearn.data.authored_file import read_authored
from textunlearn.data.sources import AUTHORED, SourceInfo, source
from textunlearn.records import Prompt


@source(
    "lookalikes",
    SourceInfo(
        about="harmless requests that share words or form with harmful ones, authored for this project",
        licence="Apache-2.0",
        homepage="",
        trainable=True,
    ),
)
def load() -> list[Prompt]:
    return read_authored(AUTHORED / "lookalikes.jsonl", "lookalike", "lookalikes")
