"""ARC, AI2's reasoning challenge: school science questions, easy and hard ones (Clark et al. 2018, arXiv 1803.05457)."""

from __future__ import annotations

from collections.abc import Iterator

from textunlearn.data.places import Entry, Place
from textunlearn.data.questions import Asked, Wording, question_set
from textunlearn.data.sources import SourceInfo
from textunlearn.errors import UserError

WORDING = Wording("", "Question: ", "\nAnswer:")


def _info(part: str, about: str, rows: int) -> SourceInfo:
    return SourceInfo(
        about=f"{about} (Clark et al. 2018)",
        licence="CC BY-SA 4.0",
        homepage="https://allenai.org/data/arc",
        trainable=False,
        rows=rows,
        kind="ordinary",
        hub="allenai/ai2_arc",
        hub_files=(f"{part}/test-*.parquet",),
        family="arc",
        cut="training and validation splits",
    )


def _read(place: Place, part: str) -> Iterator[Asked]:
    for row in place.rows(f"{part}/test-*.parquet", f"{part}/{part}-Test.jsonl", f"{part}-Test.jsonl"):
        yield _asked(row)


def _asked(row: Entry) -> Asked:
    """The hub has ``question`` and ``choices`` {"text": [...], "label": [...]}; AI2's own files put both into ``question``."""
    question = row.value("question")
    if isinstance(question, dict):
        text, pairs = str(question.get("stem", "")).strip(), question.get("choices", [])
        choices = [(str(pair["label"]), str(pair["text"])) for pair in pairs]
    else:
        found = row.value("choices")
        text, choices = row["question"], list(zip(found["label"], found["text"], strict=True))
    labels = [label for label, _ in choices]
    if (key := row["answerKey"]) not in labels:
        raise UserError(f"{row.where}: answerKey {key!r} is none of the choices' labels; get the file again")
    return Asked(text, tuple(choice for _, choice in choices), labels.index(key))


@question_set(
    "arc_easy",
    _info("ARC-Easy", "school science questions, the easy ones", 2376),
    title="ARC easy",
    form="continuation",
    wording=WORDING,
)
def load_easy(place: Place) -> Iterator[Asked]:
    return _read(place, "ARC-Easy")


@question_set(
    "arc_challenge",
    _info("ARC-Challenge", "school science questions that retrieval and word statistics got wrong", 1172),
    title="ARC challenge",
    form="continuation",
    wording=WORDING,
)
def load_challenge(place: Place) -> Iterator[Asked]:
    return _read(place, "ARC-Challenge")
