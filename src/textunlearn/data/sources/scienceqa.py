"""ScienceQA's test questions that come with a picture (Lu et al. 2022, arXiv 2209.09513)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.questions import Asked, Wording, question_set
from textunlearn.data.sources import Cut, SourceInfo
from textunlearn.errors import UserError


@question_set(
    "scienceqa",
    SourceInfo(
        about="school science questions with a picture, test split (Lu et al. 2022)",
        licence="CC BY-NC-SA 4.0",
        homepage="https://scienceqa.github.io",
        trainable=False,
        rows=4241,
        kind="ordinary",
        pictures=2017,
        hub="derek-thomas/ScienceQA",
        hub_files=("data/test-*.parquet",),
        cut="questions without a picture; lectures and solutions",
    ),
    title="ScienceQA (with pictures)",
    form="letters",
    wording=Wording("", "", "\nAnswer with the option's letter from the given choices directly."),
)
def load(place: Place) -> Iterator[Asked | Cut]:
    """A hint, where there is one, stands before the question."""
    for row in place.rows("data/test-*.parquet", "ScienceQA-IMG/test-*.parquet", "test-*.parquet"):
        if not (picture := row.picture("image")):
            yield Cut("without a picture")
            continue
        choices, right = row.value("choices"), row.value("answer")
        if not isinstance(choices, list) or not isinstance(right, int) or not 0 <= right < len(choices):
            raise UserError(f"{row.where}: answer is not the number of one of the choices; get the file again")
        hint = row.get("hint")
        text = f"Context: {hint}\n{row['question']}" if hint else row["question"]
        yield Asked(text, tuple(map(str, choices)), right, category=row["topic"], pictures=(picture,))
