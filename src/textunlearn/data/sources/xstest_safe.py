"""The safe half of XSTest (Röttger et al. 2024, arXiv 2308.01263).

Shipped under CC BY 4.0: see ``third_party/README.md``.
"""

from __future__ import annotations

import csv

from textunlearn.data.forms import classify_form
from textunlearn.data.sources import THIRD_PARTY, SourceInfo, source
from textunlearn.records import Prompt


@source(
    "xstest_safe",
    SourceInfo(
        about="250 safe prompts that look unsafe (Röttger et al. 2024); a test set for over-refusal",
        licence="CC BY 4.0",
        homepage="https://github.com/paul-rottger/xstest",
        trainable=False,
        rows=250,
    ),
)
def load() -> list[Prompt]:
    with (THIRD_PARTY / "xstest_safe.csv").open(encoding="utf-8", newline="") as file:
        return [
            Prompt(row["prompt"], "lookalike", "xstest_safe", classify_form(row["prompt"]), row["type"])
            for row in csv.DictReader(file)
        ]
