"""MaliciousInstruct (Huang et al. 2023, arXiv 2310.06987): one question a line."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.rows import TEXT_COLUMN
from textunlearn.data.sources import Item, SourceInfo, source


@source(
    "malicious_instruct",
    SourceInfo(
        about="questions of ten malicious intentions (Huang et al. 2023)",
        licence="none stated (research release)",
        homepage="https://github.com/Princeton-SysML/Jailbreak_LLM",
        trainable=False,
        rows=100,
        hub="walledai/MaliciousInstruct",
        hub_files=("data/*.parquet",),
    ),
)
def load(place: Place) -> Iterator[Item]:
    for row in place.rows("MaliciousInstruct.txt", "data/MaliciousInstruct.txt", "data/*.parquet"):
        yield Item(row[TEXT_COLUMN])
