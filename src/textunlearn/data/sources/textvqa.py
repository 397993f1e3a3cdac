"""TextVQA: short questions about text in photos, ten people's answers each (Singh et al. 2019, arXiv 1904.08920)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from textunlearn.data.places import Place
from textunlearn.data.questions import Asked, Wording, question_set
from textunlearn.data.sources import SourceInfo
from textunlearn.errors import UserError

FILES = ("TextVQA_0.5.1_val.json", "*/TextVQA_0.5.1_val.json")
HUB_FILES = ("data/validation-*.parquet", "validation-*.parquet")


@question_set(
    "textvqa",
    SourceInfo(
        about="short questions about text in photos, with ten people's answers each: the validation split (Singh et al. 2019)",
        licence="CC BY 4.0",
        homepage="https://textvqa.org",
        trainable=False,
        rows=5000,
        kind="ordinary",
        pictures=5000,
        hub="lmms-lab/textvqa",
        hub_files=HUB_FILES[:1],
        cut="training split; the test split, whose answers are not published",
    ),
    title="TextVQA",
    form="short_answer",
    wording=Wording("", "", "\nAnswer the question using a single word or phrase."),
)
def load(place: Place) -> Iterator[Asked]:
    if place.glob(*HUB_FILES) and not place.glob(*FILES):
        for row in place.rows(*HUB_FILES):
            yield _asked(row.row.values, row.picture("image"), row.where)
        return
    path, document = place.document(*FILES)
    pictures = place.pictures("train_images", "*/train_images", archives=("train_val_images.zip",))
    entries = document.get("data") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise UserError(f"{path} has no list under 'data', as TextVQA's has; get the file again")
    for number, entry in enumerate(entries, start=1):
        yield _asked(entry, pictures.find(f"{entry.get('image_id')}.jpg"), f"{path} entry {number}")


def _asked(entry: dict[str, Any], picture: Path | bytes | None, where: str) -> Asked:
    answers: Any = entry.get("answers")
    if not isinstance(answers, Iterable) or isinstance(answers, str) or not entry.get("question"):
        raise UserError(
            f"{where} has no question with a list of answers, as TextVQA's entries have; get the file again"
        )
    text = str(entry["question"]).strip().capitalize()
    return Asked(text, answers=tuple(map(str, answers)), pictures=(picture,))
