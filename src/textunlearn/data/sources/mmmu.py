"""MMMU's validation split: college exam questions with pictures, 30 subjects (Yue et al. 2024, arXiv 2311.16502)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from textunlearn.data.places import Entry, Place
from textunlearn.data.questions import LETTERS, SEVERAL, Asked, Wording, question_set
from textunlearn.data.sources import Cut, SourceInfo
from textunlearn.errors import UserError

OPEN = "open question"
_NAMED = re.compile(r"<image (\d)>")
WORDING = Wording("", "", "\nAnswer with the option's letter from the given choices directly.")


def _info(about: str, rows: int, cut: str) -> SourceInfo:
    return SourceInfo(
        about=f"{about} (Yue et al. 2024)",
        licence="Apache-2.0",
        homepage="https://mmmu-benchmark.github.io",
        trainable=False,
        rows=rows,
        kind="ordinary",
        pictures=rows,
        categories=30,
        hub="MMMU/MMMU",
        hub_files=("*/validation-*.parquet",),
        family="mmmu",
        cut=cut,
    )


def _read(place: Place) -> Iterator[Asked | Cut]:
    for row in place.rows("*/validation-*.parquet", "validation-*.parquet"):
        yield Cut(OPEN) if row["question_type"] != "multiple-choice" else _asked(row)


def _asked(row: Entry) -> Asked:
    """Pictures in the order of their numbers, before the words, in which they stay named as "<image 1>"."""
    try:
        choices = tuple(map(str, ast.literal_eval(row["options"])))
        right = LETTERS.index(row["answer"])
    except (ValueError, SyntaxError):
        choices, right = (), -1
    if not 0 <= right < len(choices):
        raise UserError(f"{row.where}: answer {row['answer']!r} is none of the options; get the file again")
    shown = sorted(set(_NAMED.findall(" ".join([row["question"], *choices]))))
    pictures = tuple(row.picture(f"image_{number}") for number in shown)
    subject = row["id"].removeprefix("validation_").rpartition("_")[0]
    return Asked(row["question"], choices, right, category=subject, pictures=pictures)


@question_set(
    "mmmu",
    _info("college exam questions with pictures, single choice, validation split", 900, "open questions, counted"),
    title="MMMU (validation, choice)",
    form="letters",
    wording=WORDING,
)
def load(place: Place) -> Iterator[Asked | Cut]:
    return _read(place)


@question_set(
    "mmmu_single",
    _info(
        "those of mmmu that show one picture, for models that take no more", 900, "open questions, and several pictures"
    ),
    title="MMMU (validation, choice, one picture)",
    form="letters",
    wording=WORDING,
)
def load_single(place: Place) -> Iterator[Asked | Cut]:
    for asked in _read(place):
        yield Cut(SEVERAL) if isinstance(asked, Asked) and len(asked.pictures) > 1 else asked
