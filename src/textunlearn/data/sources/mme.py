"""MME: yes/no questions about pictures, two a picture, one of each answer (Fu et al. 2023, arXiv 2306.13394)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.questions import Asked, question_set
from textunlearn.data.sources import SourceInfo
from textunlearn.errors import UserError


@question_set(
    "mme",
    SourceInfo(
        about="yes/no questions about pictures in fourteen tasks of perception and cognition, two a picture (Fu et al. 2023)",
        licence="terms of its authors, for research",
        homepage="https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models/tree/Evaluation",
        trainable=False,
        rows=2374,
        kind="ordinary",
        pictures=2374,
        categories=14,
        hub="lmms-lab/MME",
        hub_files=("data/test-*.parquet",),
        cut="nothing; the layout of the authors' own archive is not read",
    ),
    title="MME",
    form="yes_no",
)
def load(place: Place) -> Iterator[Asked]:
    """The questions say themselves that yes or no is wanted. Group: the picture."""
    for row in place.rows("data/test-*.parquet", "test-*.parquet"):
        answer = row["answer"].lower().rstrip(".")
        if answer not in ("yes", "no"):
            raise UserError(f"{row.where}: the answer is {row['answer']!r}, neither Yes nor No; get the file again")
        category = row["category"]
        group = f"{category}/{row['question_id']}"
        yield Asked(
            row["question"], answers=(answer,), category=category, group=group, pictures=(row.picture("image"),)
        )
