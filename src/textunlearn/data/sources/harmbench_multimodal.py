"""HarmBench's multi-modal behaviours: a request about a picture (Mazeika et al. 2024, arXiv 2402.04249)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from textunlearn.data.pins import HARMBENCH
from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source
from textunlearn.data.sources.harmbench import FAMILY, files


@source(
    "harmbench_multimodal",
    SourceInfo(
        about="behaviours about a photo, HarmBench's multi-modal part (Mazeika et al. 2024)",
        licence=HARMBENCH.licence,
        homepage=HARMBENCH.homepage,
        trainable=False,
        rows=110,
        pictures=110,
        categories=5,
        family=FAMILY,
    ),
)
def load(place: Place) -> Iterator[Item]:
    """The CSV names some pictures .jpg that lie there as .png."""
    pictures = place.pictures("data/multimodal_behavior_images", "multimodal_behavior_images", "images")
    for row in place.rows(*files("harmbench_behaviors_multimodal_all.csv", "harmbench_behaviors_multimodal*.csv")):
        name = row["ImageFileName"]
        picture = pictures.find(name, str(PurePath(name).with_suffix(".png")))
        yield Item(row["Behavior"], row["SemanticCategory"], picture=picture, about=row.get("ImageDescription"))
