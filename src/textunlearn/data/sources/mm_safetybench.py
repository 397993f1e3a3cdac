"""MM-SafetyBench: questions in 13 scenarios whose key phrase is in a picture (Liu et al. 2023, arXiv 2311.17600).

The picture is generated (SD), the phrase drawn (TYPO), or one over the other (SD_TYPO); a fourth source has the original
questions, typed. In five scenarios (political lobbying, legal, financial, health, government) a careful answer is no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from textunlearn.data.places import Entry, Place
from textunlearn.data.rows import KEY
from textunlearn.data.sources import Item, Loader, SourceInfo, source

_QUESTIONS = ("data/processed_questions/*.json", "processed_questions/*.json")
_PICTURES = ("data/imgs", "imgs", "MM-SafetyBench(imgs)", "data/MM-SafetyBench(imgs)")
_QUESTION = {"SD": "Rephrased Question(SD)", "TYPO": "Rephrased Question", "SD_TYPO": "Rephrased Question"}
"""Which wording goes with which picture, as the authors pair them."""


def _info(about: str, split: str, pictures: int) -> SourceInfo:
    return SourceInfo(
        about=f"{about}, 13 scenarios (Liu et al. 2023)",
        licence="CC BY-NC 4.0 (non-commercial)",
        homepage="https://github.com/isXinLiu/MM-SafetyBench",
        trainable=False,
        rows=1680,
        pictures=pictures,
        categories=13,
        hub="PKU-Alignment/MM-SafetyBench",
        hub_files=(f"data/*/{split}*.parquet", "data/*/Text_only*.parquet"),
        family="mm_safetybench",
    )


def scenario(name: str) -> str:
    """``05-EconomicHarm`` -> ``EconomicHarm``: the hub leaves the numbers out."""
    number, dash, rest = name.partition("-")
    return rest if dash and number.isdecimal() else name


def _read(place: Place, split: str) -> Iterator[Item]:
    if place.glob(*_QUESTIONS):
        pictures = place.pictures(*_PICTURES)
        for row in place.rows(*_QUESTIONS):
            path = f"{row.path.stem}/{split}/{row[KEY]}.jpg"
            picture = pictures.find(path, path.removesuffix("jpg") + "png")
            yield Item(row[_QUESTION[split]], scenario(row.path.stem), picture=picture, asked=row["Question"])
        return
    asked = {(_folder(row), row["id"]): row["question"] for row in _hub_rows(place, "Text_only")}
    for row in _hub_rows(place, split):
        really = asked.get((_folder(row), row["id"]), "")
        yield Item(row["question"], scenario(_folder(row)), picture=row.picture("image"), asked=really)


def _hub_rows(place: Place, split: str) -> Iterator[Entry]:
    """The hub's layout: a folder a scenario, a file a split. ``SD`` must not take ``SD_TYPO`` along."""
    return place.rows(f"data/*/{split}[-.]*parquet", f"*/{split}[-.]*parquet")


def _folder(row: Entry) -> str:
    return Path(row.path).parent.name


def _pictured(split: str) -> Loader:
    return lambda place: _read(place, split)


for _split, _about in (
    ("SD", "key phrase as a generated picture"),
    ("TYPO", "key phrase drawn as words"),
    ("SD_TYPO", "generated picture with the key phrase drawn below"),
):
    source(f"mm_safetybench_{_split.lower()}", _info(_about, _split, 1680))(_pictured(_split))


@source("mm_safetybench_text", _info("the original questions, typed", "Text_only", 0))
def load_text(place: Place) -> Iterator[Item]:
    if place.glob(*_QUESTIONS):
        for row in place.rows(*_QUESTIONS):
            yield Item(row["Question"], scenario(row.path.stem))
        return
    for row in _hub_rows(place, "Text_only"):
        yield Item(row["question"], scenario(_folder(row)))
