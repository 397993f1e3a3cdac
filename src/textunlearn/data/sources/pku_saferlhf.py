"""PKU-SafeRLHF's prompts (Ji et al. 2024, arXiv 2406.15513): what arXiv 2406.02575 unlearns and tests on."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Entry, Place
from textunlearn.data.sources import Cut, Item, SourceInfo, source


def _info(split: str, rows: int, trainable: bool) -> SourceInfo:
    return SourceInfo(
        about=f"prompts of the {split} split that drew at least one unsafe answer (Ji et al. 2024)",
        licence="CC BY-NC 4.0 (non-commercial)",
        homepage="https://github.com/PKU-Alignment/safe-rlhf",
        trainable=trainable,
        rows=rows,
        hub="PKU-Alignment/PKU-SafeRLHF",
        hub_files=(f"data/*/{split}.jsonl",),
        family="pku_saferlhf",
        cut="answers; prompts whose answers are both labelled safe, which may be harmless; the same prompt for several models",
    )


def _read(place: Place, split: str) -> Iterator[Item | Cut]:
    for row in place.rows(
        f"data/Alpaca*/{split}.jsonl", f"data/*/{split}.jsonl", f"data/{split}.jsonl", f"{split}.jsonl"
    ):
        yield Item(row["prompt"]) if _drew_harm(row) else Cut("both answers safe")


def _drew_harm(row: Entry) -> bool:
    return not all(row.value(f"is_response_{n}_safe") for n in (0, 1))


@source("pku_saferlhf", _info("train", 73907, True))
def load_train(place: Place) -> Iterator[Item | Cut]:
    return _read(place, "train")


@source("pku_saferlhf_test", _info("test", 8211, False))
def load_test(place: Place) -> Iterator[Item | Cut]:
    return _read(place, "test")
