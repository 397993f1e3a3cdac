"""MMStar: questions that cannot be answered without the picture (Chen et al. 2024, arXiv 2403.20330)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.questions import LETTERS, Asked, Wording, question_set
from textunlearn.data.sources import SourceInfo
from textunlearn.errors import UserError

CHOICES = tuple(LETTERS[:4])


@question_set(
    "mmstar",
    SourceInfo(
        about="single choice that needs the picture, in six abilities (Chen et al. 2024)",
        licence="see the hub",
        homepage="https://github.com/MMStar-Benchmark/MMStar",
        trainable=False,
        rows=1500,
        kind="ordinary",
        pictures=1500,
        categories=6,
        hub="Lin-Chen/MMStar",
        hub_files=("mmstar.parquet",),
    ),
    title="MMStar",
    form="letters",
    wording=Wording("", "", "\nAnswer with the option's letter from the given choices directly."),
)
def load(place: Place) -> Iterator[Asked]:
    """The questions list their options A to D themselves, in several styles, and are shown as they are."""
    for row in place.rows("mmstar.parquet", "data/*.parquet", "*.parquet"):
        if (answer := row["answer"]) not in CHOICES:
            raise UserError(f"{row.where}: the answer is {answer!r}, none of A to D; get the file again")
        yield Asked(
            row["question"],
            CHOICES,
            CHOICES.index(answer),
            category=row["category"],
            listed=True,
            pictures=(row.picture("image"),),
        )
