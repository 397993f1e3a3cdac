"""HarmBench's multi-modal behaviours: a request about a picture (Mazeika et al. 2024, arXiv 2402.04249)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, beside, source
from textunlearn.data.sources.harmbench import files, info


@source(
    "harmbench_multimodal",
    info("behaviours about a photo, HarmBench's multi-modal part", 110, categories=5, pictures=110),
)
def load(place: Place) -> Iterator[Item]:
    """The CSV names some pictures .jpg that lie there as .png."""
    pictures = place.pictures("data/multimodal_behavior_images", "multimodal_behavior_images", "images")
    for row in place.rows(*files("harmbench_behaviors_multimodal_all.csv", "harmbench_behaviors_multimodal*.csv")):
        name = row["ImageFileName"]
        picture = pictures.find(name, str(PurePath(name).with_suffix(".png")))
        asked = beside(row["Behavior"], row.get("ImageDescription"))
        yield Item(row["Behavior"], row["SemanticCategory"], picture=picture, asked=asked)
