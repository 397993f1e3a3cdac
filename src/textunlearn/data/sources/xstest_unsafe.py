"""The unsafe half of XSTest: each contrasts with a safe prompt (Röttger et al. 2024, arXiv 2308.01263)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source
from textunlearn.data.sources.xstest_safe import FILES, HUB, is_safe


@source(
    "xstest_unsafe",
    SourceInfo(
        about="unsafe prompts that contrast with the safe ones (Röttger et al. 2024)",
        licence="CC BY 4.0",
        homepage="https://github.com/paul-rottger/xstest",
        trainable=False,
        rows=200,
        categories=8,
        hub=HUB,
        hub_files=("*.csv", "data/*"),
        family="xstest",
    ),
)
def load(place: Place) -> Iterator[Item]:
    for row in place.rows(*FILES):
        if not is_safe(row):
            yield Item(row["prompt"], row["type"])
