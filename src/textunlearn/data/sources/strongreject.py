"""StrongREJECT's forbidden prompts (Souly et al. 2024, arXiv 2402.10260)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.pins import STRONGREJECT
from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source


@source(
    "strongreject",
    SourceInfo(
        about="forbidden prompts in six categories (Souly et al. 2024)",
        licence="MIT",
        homepage="https://github.com/alexandrasouly/strongreject",
        trainable=False,
        rows=313,
        categories=6,
        hub="walledai/StrongREJECT",
        hub_files=("data/*.parquet",),
    ),
    STRONGREJECT,
)
def load(place: Place) -> Iterator[Item]:
    for row in place.rows(
        STRONGREJECT.members[0],
        "strongreject_dataset/strongreject_dataset.csv",
        "strongreject_dataset.csv",
        "data/*.parquet",
    ):
        yield Item(row.first("forbidden_prompt", "prompt"), row["category"])
