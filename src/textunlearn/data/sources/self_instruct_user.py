"""Self-Instruct's user-oriented instructions with human answers (Wang et al. 2023, arXiv 2212.10560).

Shipped under Apache-2.0: see ``third_party/README.md``.
"""

from __future__ import annotations

import json

from textunlearn.data.forms import classify_form
from textunlearn.data.sources import THIRD_PARTY, SourceInfo, source
from textunlearn.records import Prompt


@source(
    "self_instruct_user",
    SourceInfo(
        about="252 everyday instructions with human answers (Wang et al. 2023); a test set for usefulness",
        licence="Apache-2.0",
        homepage="https://github.com/yizhongw/self-instruct",
        trainable=False,
        rows=252,
    ),
)
def load() -> list[Prompt]:
    """Text: the instruction, then its input after a blank line where it has one. Reference: the first human answer."""
    out = []
    for line in (THIRD_PARTY / "self_instruct_user.jsonl").read_text(encoding="utf-8").split("\n"):
        if line:
            row = json.loads(line)
            text = f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]
            form = classify_form(row["instruction"])
            out.append(Prompt(text, "ordinary", "self_instruct_user", form, row["category"], row["reference"]))
    return out
