"""Text helpers shared by the judges: cleaning, sentences, words."""

from __future__ import annotations

import re

_QUOTES = str.maketrans(
    {"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " ", "\u200b": ""}
)
_TAG = re.compile(r"^\s*(?:\[[^\]\n]{1,30}\]|\(?[A-Z][A-Za-z]{2,15}\)?:)\s+")
_ITEM = re.compile(r"(?:(?<=\s)|^)(?:\(?\d{1,2}[.):](?=\s|$)|[-*•]\s)", re.M)
_SENTENCE = re.compile(r"(?<=[.!?。！？])[\"')\]]*\s+|\n+")
_STUCK = re.compile(r"(?<=[a-z])(?=I(?:'(?:m|ll|d|ve))?(?![a-z'])|I+\b)")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def plain(text: str) -> str:
    """Straight quotes, no markdown emphasis, no speaker tag (``[CLASSIC]``, ``Assistant:``) in front."""
    text = text.translate(_QUOTES).replace("**", "").replace("__", "")
    text = _TAG.sub("", text, count=1)
    return text.lstrip(" \t\n#>*-~")


def unstuck(text: str) -> tuple[str, int]:
    """``text`` with a full stop where a word runs into the next "I" ("with thatI won't"), as damaged models write, and how often."""
    return _STUCK.subn(". ", text)


def words(text: str) -> list[str]:
    """Lower-case words and numbers, in order."""
    return _WORD.findall(text.lower())


def without_numbers(text: str) -> str:
    """``text`` with the numbers and bullets of its list items taken out."""
    return _ITEM.sub(" ", text)


def items(text: str) -> list[str]:
    """What stands behind each list number or bullet, up to the next one; [] when the text has none."""
    return [part.strip() for part in _ITEM.split(text)[1:]]


def sentences(text: str) -> list[str]:
    """Sentences and lines, each stripped, none empty. List numbers do not end a sentence."""
    joined = re.sub(r"(?m)(^|\s)(\d{1,2})\.\s+", r"\1\2) ", text)
    return [part.strip() for part in _SENTENCE.split(joined) if part.strip()]


def without_prefill(text: str, prefill: str) -> str:
    """The answer behind the words that were put into the model's mouth."""
    start = prefill.strip()
    text = text.lstrip()
    return text[len(start) :].lstrip(" ,:;.!-\n") if start and text.startswith(start) else text
