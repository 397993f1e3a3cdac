"""The safe half of XSTest (Röttger et al. 2024, arXiv 2308.01263).

Shipped under CC BY 4.0: see ``third_party/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Entry, Place
from textunlearn.data.sources import THIRD_PARTY, Item, SourceInfo, source

FILES = ("xstest_prompts.csv", "xstest_v2_prompts.csv", "data/*.csv", "data/*.parquet")
HUB = "Paul/XSTest"


def is_safe(row: Entry) -> bool:
    """By the label; version 2 has none, but calls the unsafe types ``contrast_...``."""
    return (row.get("label") or ("unsafe" if row["type"].startswith("contrast") else "safe")) == "safe"


@source(
    "xstest_safe",
    SourceInfo(
        about="safe prompts that look unsafe (Röttger et al. 2024); for over-refusal",
        licence="CC BY 4.0",
        homepage="https://github.com/paul-rottger/xstest",
        trainable=False,
        rows=250,
        kind="lookalike",
        categories=10,
        hub=HUB,
        hub_files=("*.csv", "data/*"),
        family="xstest",
    ),
    THIRD_PARTY,
)
def load(place: Place) -> Iterator[Item]:
    for row in place.rows("xstest_safe.csv", *FILES):
        if is_safe(row):
            # as published, with its stray spaces: results were made with these very characters
            yield Item(str(row.value("prompt")), row["type"])
