"""OR-Bench: prompts that models refuse too often, and truly toxic ones beside them (Cui et al. 2024, arXiv 2405.20947)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source
from textunlearn.records import Kind


def _info(about: str, rows: int, kind: Kind, file: str) -> SourceInfo:
    return SourceInfo(
        about=about,
        licence="CC BY 4.0",
        homepage="https://huggingface.co/bench-llm",
        trainable=False,
        rows=rows,
        kind=kind,
        categories=10,
        hub="bench-llm/or-bench",
        hub_files=(f"{file}.csv",),
        family="or_bench",
    )


def _read(place: Place, file: str) -> Iterator[Item]:
    for row in place.rows(f"{file}.csv"):
        yield Item(row["prompt"], row["category"])


@source(
    "or_bench_80k", _info("seemingly toxic, harmless prompts (Cui et al. 2024)", 80359, "lookalike", "or-bench-80k")
)
def load_80k(place: Place) -> Iterator[Item]:
    return _read(place, "or-bench-80k")


@source(
    "or_bench_hard",
    _info(
        "those of the 80k that several strong models refuse (Cui et al. 2024)", 1319, "lookalike", "or-bench-hard-1k"
    ),
)
def load_hard(place: Place) -> Iterator[Item]:
    return _read(place, "or-bench-hard-1k")


@source(
    "or_bench_toxic",
    _info("toxic prompts, against refusing nothing (Cui et al. 2024)", 655, "harmful", "or-bench-toxic"),
)
def load_toxic(place: Place) -> Iterator[Item]:
    return _read(place, "or-bench-toxic")
