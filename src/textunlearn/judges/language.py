"""Is a text language, or tokens in a row? A few statistics of words, weighed by a logistic regression.

What a damaged model writes is often made of real words and pieces of words in an order that nobody would write ("is himself }
now asnd myself"). Looked at are: words that a small English lexicon lacks, how much likelier each pair of neighbouring words is than
chance (function words stand for themselves, all others for their class), tokens that are no word and no number, letters and figures
glued together, brackets, symbols, a word said again and again, single letters.

Lexicon, pair counts and weights are in english.json, made by ``benchmarks/judge_language.py`` from texts that ship with this project and
the tuning halves of labelled answers. Texts in other languages, lists of names, code and texts of a few words are not judged.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "english.json"

CODE = re.compile(
    r"(?:^|\n)\s*```[\w+#-]*\n.*?(?:```|$)|`[^`\n]+`|https?://\S+|www\.\S+|\S+@\S+|(?=(?:[^\d\s]*\d){3})[A-Za-z0-9+/=]{24,}",
    re.S,
)
"""What is left out before words are looked at: code, addresses, base64."""

FEATURES = (
    "unlikely pairs",
    "unknown words",
    "no words",
    "glued",
    "brackets",
    "symbols",
    "said again",
    "single letters",
    "long words",
    "line breaks",
    "pairs again",
)

_PIECE = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d[\d.,:]*|[.,;:!?]+|[^\w\s]")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_FAIR = re.compile(
    r"[(\"'“‘*_\[<#]*(?:[^\W\d_]+(?:['/&-][^\W\d_]+)*"
    r"|\$?\d[\d.,:/%-]*(?:st|nd|rd|th|s|k|m|kg|g|ml|am|pm|°[CF]?|x|×)?\+?)[)\"'”’*_.,:;!?\]>%…]*"
)
_GLUED = re.compile(r"[a-z][A-Z]|[A-Za-z]\d|\d[A-Za-z]{2}")
_SEPARATOR = re.compile(r"[,;\n•]|(?:^|\n)\s*(?:[-*]|\d+[.)])")
_PROGRAM = re.compile(
    r"(?:^|[;:{\n])\s*(?:def|class|import|from|var|const|let|function|public|SELECT|#include|print|echo)\b|\w\([^()]*\)\s*[;:{]",
    re.M,
)
_CUT = {"’": "'", "‘": "'"}
_MARKS = {".": ".!?", ",": ",;:", "(": "()\"-*'“”–—"}
_PRIOR = 3.0
"""Weight of what chance says of a pair, in sightings."""

SURE = 0.7
"""Probability from which on a text is taken for one in the language that is likeliest. Of this project's 300 broken texts in English none
is as surely of another language."""


@dataclass(frozen=True)
class English:
    """A lexicon, the frequent words that stand for themselves, counts of pairs of classes, and the weights of FEATURES."""

    words: frozenset[str]
    frequent: frozenset[str]
    pairs: Mapping[tuple[str, str], int]
    weights: tuple[float, ...]
    bias: float
    firsts: Mapping[str, int]
    seconds: Mapping[str, int]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> English:
        pairs = {(a, b): n for a, row in data["pairs"].items() for b, n in row.items()}
        firsts, seconds = Counter[str](), Counter[str]()
        for (a, b), n in pairs.items():
            firsts[a] += n
            seconds[b] += n
        weights = tuple(data["weights"][name] for name in FEATURES)
        words, frequent = frozenset(data["words"].split()), frozenset(data["frequent"].split())
        return cls(words | frequent, frequent, pairs, weights, data["bias"], firsts, seconds)


@lru_cache(maxsize=1)
def english() -> English:
    """The table that ships."""
    return English.from_json(json.loads(TABLE.read_text(encoding="utf-8")))


def prose(text: str) -> str:
    """``text`` without code and addresses, with straight apostrophes."""
    text = CODE.sub(" ", text)
    for curly, straight in _CUT.items():
        text = text.replace(curly, straight)
    return text


def count(texts: Iterable[str], frequent: int = 250) -> dict[str, Any]:
    """Lexicon and pair counts of ``texts`` as english.json has them (without weights)."""
    cleaned = [prose(text) for text in texts]
    seen = Counter(word for text in cleaned for word in re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower()))
    often = [word for word, _ in seen.most_common(frequent)]
    pairs: dict[str, Counter[str]] = {}
    for text in cleaned:
        for a, b in pairwise(_classes(text, frozenset(often))):
            pairs.setdefault(a, Counter())[b] += 1
    rare = sorted(set(seen) - set(often))
    return {
        "words": " ".join(rare),
        "frequent": " ".join(often),
        "pairs": {a: dict(sorted(row.items())) for a, row in sorted(pairs.items())},
    }


def _classes(text: str, frequent: frozenset[str]) -> list[str]:
    out = ["<"]
    for piece in _PIECE.findall(text):
        word = piece.lower()
        if word in frequent:
            out.append(word)
        elif word[0].isalpha():
            out.append("X+" if word.endswith(("s", "ed", "ing", "ly")) else "X")
        elif word[0].isdigit():
            out.append("9")
        else:
            out.append(next((name for name, marks in _MARKS.items() if word[0] in marks), "#"))
    return out


def features(text: str, table: English) -> list[float]:
    """The numbers of :data:`FEATURES` for ``text`` (as :func:`prose` gives it)."""
    tokens = text.split()
    words = [word.lower() for word in _WORD.findall(text)]
    spoken = max(1, len(words))
    rare = Counter(word for word in words if word not in table.frequent)
    symbols = sum(ord(c) > 127 and not c.isalpha() and c not in "“”–—…•€£°" for c in text) / max(1, len(text))
    return [
        -min(1.0, max(-2.0, _pairs(text, table))),
        sum(word not in table.words for word in words) / spoken if len(words) >= 4 else 0.0,
        min(0.5, _no_words(tokens)),
        sum(bool(_GLUED.search(token)) for token in tokens) / max(1, len(tokens)),
        sum(any(c in "[]{}" for c in token) for token in tokens) / max(1, len(tokens)),
        10 * min(0.1, symbols),
        max((n - 1 for n in rare.values()), default=0) / max(10, len(words)),
        _single(words) / spoken,
        sum(len(word) for word in words if len(word) >= 16) / max(1, sum(map(len, words))),
        min(0.5, text.count("\n") / max(1, len(text))),
        1 - len(set(pairwise(words))) / (spoken - 1) if spoken > 5 else 0.0,
    ]


def _pairs(text: str, table: English) -> float:
    """Mean of log(p(b | a) / p(b)) over neighbours: how much better they fit than chance."""
    found = _classes(text, table.frequent)
    if len(found) < 8:
        return 0.3
    total, kinds = sum(table.seconds.values()), len(table.seconds)
    fits = []
    for a, b in pairwise(found):
        chance = (table.seconds.get(b, 0) + 0.5) / (total + 0.5 * kinds)
        seen = (table.pairs.get((a, b), 0) + _PRIOR * chance) / (table.firsts.get(a, 0) + _PRIOR)
        fits.append(math.log(seen / chance))
    return sum(fits) / len(fits)


def _no_words(tokens: Sequence[str]) -> float:
    counted = [token for token in tokens if any(c.isalnum() for c in token) or token in "{}[]()"]
    return sum(not _FAIR.fullmatch(token) for token in counted) / len(counted) if len(counted) >= 4 else 0.0


def _single(words: Sequence[str]) -> int:
    return sum(len(word) == 1 and word not in "ai" for word in words)


def unjudged(text: str, table: English) -> bool:
    """Whether nothing can be said of ``text`` here: other scripts or languages, code, a few words, a list of names."""
    if _other_script(text):
        return True
    tokens, words = text.split(), _WORD.findall(text)
    longest = max((len(token) for token in tokens), default=0)
    if ((len(tokens) < 5 or len(words) < 4) and longest <= 20) or is_foreign(text):
        return True
    if _PROGRAM.search(text):
        return True
    if _no_words(tokens) > 0.12 or _single([w.lower() for w in words]) > 0.2 * len(words):
        return False
    capitals = sum(word[0].isupper() for word in words) / len(words)
    unknown = sum(word.lower() not in table.words for word in words) / len(words)
    if len(words) < 9 and (capitals > 0.3 or unknown < 0.5):
        return True
    separators = len(_SEPARATOR.findall(text))
    if separators >= 0.8 * (len(words) - 1):
        return True  # a list of single words
    return capitals > (0.3 if 2.5 * separators >= len(words) else 0.5)


def unknown(text: str) -> float:
    """Share of the words of ``text`` that are not in the lexicon; 0 without words."""
    words, table = [word.lower() for word in _WORD.findall(text)], english()
    return sum(word not in table.words for word in words) / max(1, len(words))


def is_other(text: str) -> bool:
    """Whether ``text`` is in another script or language than English."""
    return _other_script(text) or is_foreign(text)


def _other_script(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return sum(c.isascii() for c in letters) < 0.85 * len(letters) or not letters


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=4096)
def is_foreign(text: str) -> bool:
    """Whether ``text`` is surely in another language than English, in whatever script (langid: Lui & Baldwin, ACL 2012)."""
    language, probability = _identifier().classify(text)
    return language != "en" and probability > SURE


def score(text: str, table: English | None = None) -> float | None:
    """Log odds that ``text`` is no language; None where nothing can be said."""
    table = table or english()
    cleaned = prose(text)
    if unjudged(cleaned, table):
        return None
    return table.bias + sum(w * x for w, x in zip(table.weights, features(cleaned, table), strict=True))
