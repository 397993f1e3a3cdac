"""AdvBench's harmful behaviours (Zou et al. 2023, arXiv 2307.15043)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from textunlearn.data.pins import PYRIT
from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source

_IN_PYRIT = PYRIT.members[0]


@source(
    "advbench",
    SourceInfo(
        about="harmful behaviours written as instructions (Zou et al. 2023)",
        licence="MIT",
        homepage="https://github.com/llm-attacks/llm-attacks",
        trainable=True,
        rows=520,
        hub="walledai/AdvBench",
        hub_files=("data/*.parquet",),
        cut="the one-line targets: a run unlearns the model's own answers",
    ),
    PYRIT,
)
def load(place: Place) -> Iterator[Item]:
    """``goal`` of the publisher's CSV, ``prompt`` of the hub's copy; pyrit's copy adds categories."""
    if place.glob(_IN_PYRIT) and place.file is None:
        yield from _pyrit(place)
        return
    for row in place.rows("harmful_behaviors.csv", "data/advbench/harmful_behaviors.csv", "data/*.parquet"):
        yield Item(row.first("goal", "prompt"))


def _pyrit(place: Place) -> Iterator[Item]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load((place.folder / _IN_PYRIT).read_text(encoding="utf-8"), Loader=loader)
    for row in document["seeds"]:
        yield Item(row["value"].strip(), (row.get("harm_categories") or [""])[0])
