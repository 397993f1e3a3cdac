"""Plainly harmless everyday requests, authored for this project."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.authored_file import read_authored
from textunlearn.data.places import Place
from textunlearn.data.sources import AUTHORED, Item, SourceInfo, source


@source(
    "ordinary",
    SourceInfo(
        about="plainly harmless everyday requests, authored for this project",
        licence="Apache-2.0",
        homepage="",
        trainable=True,
        kind="ordinary",
    ),
    AUTHORED,
)
def load(place: Place) -> Iterator[Item]:
    for path in place.find("ordinary.jsonl"):
        for prompt in read_authored(path, "ordinary", place.source):
            yield Item(prompt.text, prompt.category, form=prompt.form)
