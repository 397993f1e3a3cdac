"""Harmless requests that share words or form with harmful ones, authored for this project."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.authored_file import read_authored
from textunlearn.data.places import Place
from textunlearn.data.sources import AUTHORED, Item, SourceInfo, source


@source(
    "lookalikes",
    SourceInfo(
        about="harmless requests that share words or form with harmful ones, authored for this project",
        licence="Apache-2.0",
        homepage="",
        trainable=True,
        kind="lookalike",
    ),
    AUTHORED,
)
def load(place: Place) -> Iterator[Item]:
    for path in place.find("lookalikes.jsonl"):
        for prompt in read_authored(path, "lookalike", place.source):
            yield Item(prompt.text, prompt.category, form=prompt.form)
