"""Self-Instruct's user-oriented instructions with human answers (Wang et al. 2023, arXiv 2212.10560).

Shipped under Apache-2.0: see ``third_party/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.forms import classify_form
from textunlearn.data.places import Place
from textunlearn.data.sources import THIRD_PARTY, Item, SourceInfo, source


@source(
    "self_instruct_user",
    SourceInfo(
        about="everyday instructions with human answers (Wang et al. 2023); for usefulness",
        licence="Apache-2.0",
        homepage="https://github.com/yizhongw/self-instruct",
        trainable=False,
        rows=252,
        kind="ordinary",
        cut="all answers to an instruction but the first",
    ),
    THIRD_PARTY,
)
def load(place: Place) -> Iterator[Item]:
    """Text: the instruction, then its input after a blank line where it has one. Reference: the first human answer."""
    for row in place.rows("self_instruct_user.jsonl"):
        told = row["instruction"]
        text = f"{told}\n\n{row['input']}" if row["input"] else told
        yield Item(text, row["category"], row["reference"], classify_form(told))
