"""FigStep's SafeBench: ten topics, fifty requests each, drawn as a heading over an empty list (Gong et al. 2023, arXiv 2311.05608).

Four sources of one folder: the authors' own pictures under their fixed prompt, a tenth of them (SafeBench-Tiny), the headings as
text (draw them with the attack ``figstep``, in the original geometry), and the plain questions (the typed baseline).
"""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source

_FULL, _TINY = (
    ("data/question/safebench.csv", "safebench.csv"),
    ("data/question/SafeBench-Tiny.csv", "SafeBench-Tiny.csv"),
)


def _info(about: str, rows: int, pictures: int = 0) -> SourceInfo:
    return SourceInfo(
        about=f"{about} (Gong et al. 2023)",
        licence="MIT",
        homepage="https://github.com/ThuCCSLab/FigStep",
        trainable=False,
        rows=rows,
        pictures=pictures,
        categories=10,
        family="figstep",
    )


def _pictured(place: Place, files: tuple[str, ...], folder: str) -> Iterator[Item]:
    from textunlearn.attacks.figstep import FIGSTEP_TEXT

    pictures = place.pictures(f"data/images/{folder}", f"images/{folder}", folder, "images")
    for row in place.rows(*files):
        # "6" is the authors' number for the prompt with three empty items
        name = f"query_{row['dataset']}_{row['category_id']}_{row['task_id']}_6.png"
        yield Item(FIGSTEP_TEXT, row["category_name"], picture=pictures.find(name), asked=row["instruction"])


def _typed(place: Place, column: str) -> Iterator[Item]:
    for row in place.rows(*_FULL):
        yield Item(row[column], row["category_name"])


@source("figstep", _info("SafeBench in the authors' own pictures, under their prompt", 500, 500))
def load(place: Place) -> Iterator[Item]:
    return _pictured(place, _FULL, "SafeBench")


@source("figstep_tiny", _info("SafeBench-Tiny in the authors' own pictures, under their prompt", 50, 50))
def load_tiny(place: Place) -> Iterator[Item]:
    return _pictured(place, _TINY, "SafeBench-Tiny")


@source("figstep_headings", _info('SafeBench\'s headings as text ("Steps to ..."), to be drawn', 500))
def load_headings(place: Place) -> Iterator[Item]:
    return _typed(place, "instruction")


@source("figstep_questions", _info("SafeBench's plain questions, the typed baseline", 500))
def load_questions(place: Place) -> Iterator[Item]:
    return _typed(place, "question")
