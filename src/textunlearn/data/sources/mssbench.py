"""MSSBench: the same words beside a safe and an unsafe picture (Zhou et al. 2024, arXiv 2410.06172).

The safe half are harmless twins with pictures: a model that refuses them has learnt the words and not the situation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source
from textunlearn.errors import UserError
from textunlearn.records import Kind


def _info(about: str, rows: int, kind: Kind) -> SourceInfo:
    return SourceInfo(
        about=f"{about} (Zhou et al. 2024)",
        licence="MIT",
        homepage="https://github.com/eric-ai-lab/MSSBench",
        trainable=False,
        rows=rows,
        kind=kind,
        pictures=rows or 1,
        hub="kzhou35/mssbench",
        hub_files=("combined.json", "chat*", "chat/*", "embodied*", "embodied/*", "*.zip"),
        family="mssbench",
    )


def _entries(place: Place, part: str) -> Iterator[tuple[str, dict[str, Any]]]:
    path, document = place.document("combined.json")
    entries = document.get(part) if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path} has no list of objects under {part!r}, as MSSBench's has; get the file again")
    for number, entry in enumerate(entries, start=1):
        yield f"{path} {part} {number}", entry


def _read(place: Place, part: str, side: str) -> Iterator[Item]:
    pictures = place.pictures(part, archives=(f"{part}.zip", "*.zip"))
    for where, entry in _entries(place, part):
        try:
            name, texts, category = _PARTS[part](entry, side)
        except KeyError as error:
            raise UserError(f"{where} has no {error}, as MSSBench's entries have; get the file again") from None
        for text in texts:
            picture = pictures.find(f"{part}/{name}", name)
            yield Item(str(text).strip(), category, picture=picture, about=str(entry.get("intent", "")))


def _chat(entry: dict[str, Any], side: str) -> tuple[str, list[str], str]:
    return entry[f"{side}_image_path"], list(entry["queries"]), str(entry.get("Type", ""))


def _embodied(entry: dict[str, Any], side: str) -> tuple[str, list[str], str]:
    several = entry.get(f"{side}_instructions")
    return entry[side], list(several) if several else [entry[f"{side}_instruction"]], str(entry.get("category", ""))


_PARTS = {"chat": _chat, "embodied": _embodied}


@source("mssbench_chat_unsafe", _info("questions whose answer the picture makes dangerous", 0, "harmful"))
def load_chat_unsafe(place: Place) -> Iterator[Item]:
    return _read(place, "chat", "unsafe")


@source("mssbench_chat_safe", _info("the same questions beside a harmless picture; for over-refusal", 0, "lookalike"))
def load_chat_safe(place: Place) -> Iterator[Item]:
    return _read(place, "chat", "safe")


@source("mssbench_embodied_unsafe", _info("household tasks that the picture makes dangerous", 0, "harmful"))
def load_embodied_unsafe(place: Place) -> Iterator[Item]:
    return _read(place, "embodied", "unsafe")


@source("mssbench_embodied_safe", _info("household tasks beside a harmless picture; for over-refusal", 0, "lookalike"))
def load_embodied_safe(place: Place) -> Iterator[Item]:
    return _read(place, "embodied", "safe")
