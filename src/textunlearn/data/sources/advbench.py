"""AdvBench's harmful behaviours (Zou et al. 2023, arXiv 2307.15043), out of the package ``pyrit``."""

from __future__ import annotations

from typing import Any

from textunlearn.data.forms import classify_form
from textunlearn.data.packages import fetch
from textunlearn.data.pins import PYRIT
from textunlearn.data.sources import SourceInfo, source
from textunlearn.records import Prompt


@source(
    "advbench",
    SourceInfo(
        about="520 harmful behaviours written as instructions (Zou et al. 2023)",
        licence="MIT",
        homepage="https://github.com/llm-attacks/llm-attacks",
        trainable=True,
        rows=520,
    ),
)
def load() -> list[Prompt]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load((fetch(PYRIT) / PYRIT.members[0]).read_text(encoding="utf-8"), Loader=loader)
    return [
        Prompt(text, "harmful", "advbench", classify_form(text), (row.get("harm_categories") or [""])[0])
        for row in document["seeds"]
        if (text := row["value"].strip())
    ]
