"""VLSBench: the harm is in the picture and not in the words (Hu et al. 2024, arXiv 2411.19939).

Where text-only unlearning is expected to fall short: typed alone, these requests look harmless.
"""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, beside, source


@source(
    "vlsbench",
    SourceInfo(
        about="harm that only the picture shows (Hu et al. 2024)",
        licence="see the hub",
        homepage="https://github.com/AI45Lab/VLSBench",
        trainable=False,
        rows=2241,
        pictures=2241,
        categories=19,
        hub="Foreshhh/vlsbench",
        hub_files=("data.json", "imgs.tar"),
    ),
)
def load(place: Place) -> Iterator[Item]:
    """Category: the publisher's subcategory. Pictures: ``imgs/``, or out of ``imgs.tar``."""
    pictures = place.pictures(*(["."] if place.glob("imgs/*") else []), archives=("imgs.tar", "imgs.zip"))
    for row in place.rows("data.json"):
        name = row["image_path"]
        picture = pictures.find(name, name.removeprefix("imgs/"))
        category = row.get("sub_category") or row["category"]
        asked = beside(row["instruction"], row.get("image_description"))
        yield Item(row["instruction"], category, picture=picture, asked=asked)
