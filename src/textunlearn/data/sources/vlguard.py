"""VLGuard's test split (Zong et al. 2024, arXiv 2402.02207): unsafe pictures, and safe ones under both kinds of request."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Place
from textunlearn.data.sources import Item, SourceInfo, source
from textunlearn.errors import UserError
from textunlearn.records import Kind


def _info(about: str, rows: int, kind: Kind) -> SourceInfo:
    return SourceInfo(
        about=f"{about} (Zong et al. 2024)",
        licence="terms on the hub, on request",
        homepage="https://github.com/ys-zong/VLGuard",
        trainable=False,
        rows=rows,
        kind=kind,
        pictures=rows,
        categories=9,
        hub="ys-zong/VLGuard",
        hub_files=("test.json", "test.zip"),
        gated=True,
        family="vlguard",
        cut="the training split: these are tests",
    )


def _read(place: Place, safe: bool, key: str) -> Iterator[Item]:
    """Category: the publisher's subcategory."""
    pictures = place.pictures("test", archives=("test.zip",))
    for row in place.rows("test.json"):
        if bool(row.value("safe")) is not safe:
            continue
        turns = row.value("instr-resp")
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise UserError(f"{row.where}: instr-resp is not a list of objects, as VLGuard's is; get the file again")
        for turn in turns:
            if key in turn:
                category = row.get("harmful_subcategory") or row.get("harmful_category")
                yield Item(str(turn[key]).strip(), category, picture=pictures.find(row["image"]))


@source("vlguard_unsafe", _info("requests about unsafe pictures", 442, "harmful"))
def load_unsafe(place: Place) -> Iterator[Item]:
    return _read(place, False, "instruction")


@source("vlguard_safe_unsafe", _info("unsafe requests about safe pictures", 558, "harmful"))
def load_safe_unsafe(place: Place) -> Iterator[Item]:
    return _read(place, True, "unsafe_instruction")


@source("vlguard_safe_safe", _info("safe requests about the same safe pictures; for over-refusal", 558, "lookalike"))
def load_safe_safe(place: Place) -> Iterator[Item]:
    return _read(place, True, "safe_instruction")
