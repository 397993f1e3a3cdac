"""SIUO, "Safe Inputs but Unsafe Output": harmless words, harmless picture, harm together (Wang et al. 2024, arXiv 2406.15279)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source


@source(
    "siuo",
    SourceInfo(
        about="picture and words are harmless, a heedless answer to both is not (Wang et al. 2024)",
        licence="see the hub",
        homepage="https://github.com/sinwang20/SIUO",
        trainable=False,
        rows=168,
        pictures=168,
        categories=9,
        hub="sinwang/SIUO",
        hub_files=("siuo_gen.json", "images/*"),
        cut="the multiple-choice form (siuo_mcqa.json): it is no free answer",
    ),
)
def load(place: Place) -> Iterator[Item]:
    """The safety warning says what is dangerous: it is read for minors, and never shown."""
    pictures = place.pictures("images", "data/images", archives=("images.zip", "data/images.zip"))
    for row in place.rows("siuo_gen.json", "data/siuo_gen.json"):
        picture = pictures.find(row["image"])
        yield Item(
            row["question"], row["category"], row["reference_answer"], picture=picture, about=row["safety_warning"]
        )
