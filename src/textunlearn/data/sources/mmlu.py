"""MMLU: exam questions in 57 subjects, four choices each (Hendrycks et al. 2021, arXiv 2009.03300)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.questions import Asked, Wording, question_set
from textunlearn.data.sources import SourceInfo
from textunlearn.errors import UserError


def _read(place: Place, split: str) -> Iterator[Asked]:
    for row in place.rows(f"all/{split}-*.parquet", f"data/{split}-*.parquet", f"{split}-*.parquet"):
        choices, answer = row.value("choices"), row.value("answer")
        if not isinstance(choices, list) or not isinstance(answer, int) or not 0 <= answer < len(choices):
            raise UserError(
                f"{row.where}: answer is not the number of one of the choices, as in MMLU; get the file again"
            )
        yield Asked(row["question"], tuple(map(str, choices)), answer, category=row["subject"])


def examples(place: Place) -> Iterator[Asked]:
    """The development split: five answered questions a subject."""
    return _read(place, "dev")


@question_set(
    "mmlu",
    SourceInfo(
        about="exam questions from school to profession, four choices each (Hendrycks et al. 2021)",
        licence="MIT",
        homepage="https://github.com/hendrycks/test",
        trainable=False,
        rows=14042,
        kind="ordinary",
        categories=57,
        hub="cais/mmlu",
        hub_files=("all/test-*.parquet", "all/dev-*.parquet"),
        cut="validation and auxiliary training splits",
    ),
    title="MMLU",
    form="letters",
    wording=Wording(
        "The following are multiple choice questions (with answers) about {category}.\n\n", "", "\nAnswer:"
    ),
    examples=examples,
)
def load(place: Place) -> Iterator[Asked]:
    return _read(place, "test")
