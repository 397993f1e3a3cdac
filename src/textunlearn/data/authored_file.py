"""The format of the prompts authored here: JSON lines of ``{"text", "form", "category"}``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from textunlearn.records import Form, Kind, Prompt


def read_authored(path: Path, kind: Kind, source: str) -> list[Prompt]:
    """The prompts in the order of the file. ValueError with file and line for a row of another shape or form."""
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            row = json.loads(line)
            if set(row) != {"text", "form", "category"} or row["form"] not in get_args(Form) or not row["text"].strip():
                raise ValueError(f"{path.name} line {number} is not an authored prompt: {row}")
            out.append(Prompt(row["text"], kind, source, row["form"], row["category"]))
    return out
