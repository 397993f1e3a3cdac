"""JailBreakV-28K: text jailbreaks beside pictures, and picture jailbreaks (Luo et al. 2024, arXiv 2404.03027).

The attack's format (template, persuade, logic, figstep, ...) is kept as a prompt's form, the policy it breaks as its category. The
picture's type is told from its path (``llm_transfer_attack/nature_7.png``); each type is a source of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from textunlearn.data.places import Entry, Place
from textunlearn.data.sources import Item, Loader, SourceInfo, source

FAMILY = "jailbreakv_28k"
_FULL = ("JailBreakV_28K/JailBreakV_28K.csv", "JailBreakV_28K.csv")
_MINI = ("JailBreakV_28K/mini_JailBreakV_28K.csv", "mini_JailBreakV_28K.csv")

TYPES = {
    "blank": ("llm_transfer_attack/blank", "text jailbreaks beside a blank picture"),
    "noise": ("llm_transfer_attack/noise", "text jailbreaks beside a noise picture"),
    "nature": ("llm_transfer_attack/nature", "text jailbreaks beside a photo of nature"),
    "sd": ("llm_transfer_attack/sd", "text jailbreaks beside a generated picture on the topic"),
    "figstep": ("figstep", "requests drawn as in FigStep"),
    "query_sd": ("query_related/sd", "key phrases as a generated picture, as in MM-SafetyBench"),
    "query_typo": ("query_related/typo", "key phrases drawn, as in MM-SafetyBench"),
}
"""Picture types by the name of their source: how a picture's path begins, and what it shows."""


def _info(about: str, rows: int = 0) -> SourceInfo:
    return SourceInfo(
        about=f"{about} (Luo et al. 2024)",
        licence="MIT",
        homepage="https://github.com/SaFoLab-WISC/JailBreakV_28K",
        trainable=False,
        rows=rows,
        pictures=rows or 1,
        categories=16,
        hub="JailbreakV-28K/JailBreakV-28k",
        hub_files=("JailBreakV_28K/**",),
        family=FAMILY,
        cut="the policy on child abuse",
    )


def picture_type(path: str) -> str:
    """``llm_transfer_attack/SD_related_5.png`` -> ``llm_transfer_attack/sd``."""
    parts = PurePosixPath(path.replace("\\", "/"))
    return f"{parts.parent.name}/{parts.stem.split('_')[0]}".lower()


def _read(place: Place, files: tuple[str, ...], wanted: Callable[[Entry], bool]) -> Iterator[Item]:
    pictures = place.pictures("JailBreakV_28K", ".")
    for row in place.rows(*files):
        if wanted(row):
            yield Item(
                row["jailbreak_query"],
                row["policy"],
                form=row["format"].lower(),
                picture=pictures.find(row["image_path"]),
                asked=row["redteam_query"],
            )


@source("jailbreakv_28k", _info("jailbreaks of five formats, each with a picture", 28000))
def load(place: Place) -> Iterator[Item]:
    return _read(place, _FULL, lambda row: True)


@source("jailbreakv_28k_mini", _info("the authors' small selection of the 28,000", 280))
def load_mini(place: Place) -> Iterator[Item]:
    if place.file is None and place.glob(*_MINI):
        return _read(place, _MINI, lambda row: True)
    return _read(place, _FULL, lambda row: row["selected_mini"].lower() == "true")


def _of_type(begins: str) -> Loader:
    return lambda place: _read(place, _FULL, lambda row: picture_type(row["image_path"]).startswith(begins))


for _name, (_begins, _about) in TYPES.items():
    source(f"{FAMILY}_{_name}", _info(_about))(_of_type(_begins))
