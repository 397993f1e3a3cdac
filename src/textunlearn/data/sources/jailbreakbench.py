"""JailbreakBench's behaviours: harmful ones, and for each a benign one on the same topic (Chao et al. 2024, arXiv 2404.01318)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source
from textunlearn.records import Kind


def _info(about: str, kind: Kind) -> SourceInfo:
    return SourceInfo(
        about=about,
        licence="MIT",
        homepage="https://github.com/JailbreakBench/jailbreakbench",
        trainable=False,
        rows=100,
        kind=kind,
        categories=10,
        hub="JailbreakBench/JBB-Behaviors",
        hub_files=("data/*-behaviors.csv",),
        family="jailbreakbench",
        cut='the targets ("Sure, here is ...")',
    )


def _read(place: Place, name: str) -> Iterator[Item]:
    for row in place.rows(f"data/{name}-behaviors.csv", f"{name}-behaviors.csv"):
        yield Item(row["Goal"], row["Category"])


@source("jailbreakbench_harmful", _info("harmful behaviours in ten categories (Chao et al. 2024)", "harmful"))
def load_harmful(place: Place) -> Iterator[Item]:
    return _read(place, "harmful")


@source(
    "jailbreakbench_benign",
    _info("benign behaviours on the topics of the harmful ones (Chao et al. 2024)", "lookalike"),
)
def load_benign(place: Place) -> Iterator[Item]:
    return _read(place, "benign")
