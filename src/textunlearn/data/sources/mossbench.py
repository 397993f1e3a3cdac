"""MOSSBench: harmless pictures and questions that models are oversensitive to (Li et al. 2024, arXiv 2406.17806)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source


@source(
    "mossbench",
    SourceInfo(
        about="harmless questions about pictures that look dangerous (Li et al. 2024); its authors forbid training on it",
        licence="CC BY-SA 4.0, no training",
        homepage="https://github.com/xirui-li/MOSSBench",
        trainable=False,
        rows=300,
        kind="lookalike",
        pictures=300,
        categories=3,
        hub="AIcell/MOSSBench",
        hub_files=("**",),
        family="mossbench",
    ),
)
def load(place: Place) -> Iterator[Item]:
    """Category: the kind of stimulus (exaggerated risk, negated harm, counterintuitive interpretation)."""
    pictures = place.pictures("data/images", "images", "data", ".")
    for row in place.rows(
        "data/images_information/information.json", "images_information/information.json", "information.json"
    ):
        name, about = row["image"], row.value("metadata")
        category = str(about.get("over", "")) if isinstance(about, dict) else ""
        yield Item(row["question"], category, picture=pictures.find(name, name.removeprefix("images/")))
