"""GSM8K: school word problems that take two to eight steps (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.questions import Asked, Wording, question_set
from textunlearn.data.sources import SourceInfo
from textunlearn.errors import UserError

MARK = "####"
"""Stands before the final number of every published answer."""


def _read(place: Place, split: str) -> Iterator[Asked]:
    for row in place.rows(
        f"main/{split}-*.parquet", f"grade_school_math/data/{split}.jsonl", f"data/{split}.jsonl", f"{split}.jsonl"
    ):
        solution = row["answer"]
        _, mark, number = solution.rpartition(MARK)
        if not mark:
            raise UserError(
                f"{row.where}: the answer has no {MARK} before its number, as GSM8K's have; get the file again"
            )
        yield Asked(row["question"], answers=(number.strip(),), solution=solution)


def examples(place: Place) -> Iterator[Asked]:
    """The training split, in its order."""
    return _read(place, "train")


@question_set(
    "gsm8k",
    SourceInfo(
        about="school word problems, answered by a number (Cobbe et al. 2021)",
        licence="MIT",
        homepage="https://github.com/openai/grade-school-math",
        trainable=False,
        rows=1319,
        kind="ordinary",
        hub="openai/gsm8k",
        hub_files=("main/test-*.parquet", "main/train-*.parquet"),
        cut="the training split, of which the first problems are examples; the Socratic form",
    ),
    title="GSM8K",
    form="number",
    wording=Wording("", "Question: ", "\nAnswer:"),
    examples=examples,
)
def load(place: Place) -> Iterator[Asked]:
    return _read(place, "test")
