"""VLSafe: harmful questions about harmless COCO photos (Chen et al. 2023, DRESS, arXiv 2311.10081)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source

_NAME = "harmlessness_examine.jsonl"


@source(
    "vlsafe",
    SourceInfo(
        about="harmful questions about harmless photos (Chen et al. 2023); COCO's train2017 photos are to be had apart",
        licence="see the hub; photos: COCO's terms",
        homepage="https://cocodataset.org/#download",
        trainable=False,
        rows=1110,
        pictures=1110,
        hub="YangyiYY/LVLM_NLF",
        hub_files=(f"VLSafe/{_NAME}",),
        cut="the training part (harmlessness_alignment)",
    ),
)
def load(place: Place) -> Iterator[Item]:
    """Photos: in a folder ``train2017`` or ``images`` beside the file, or of the set."""
    pictures = place.pictures("train2017", "images", "VLSafe/train2017", "VLSafe/images", "coco/train2017")
    for row in place.rows(f"VLSafe/{_NAME}", _NAME, f"VLSafe_{_NAME}"):
        yield Item(row["query"], picture=pictures.find(row["image_id"]), about=row.get("caption"))
