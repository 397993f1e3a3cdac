"""Is an answer broken: empty, repeating itself, or not language?

What collapsed models write is mostly repetition, words run together, mojibake, mixed scripts and pieces of words in a row; what rules on
single patterns miss of the last, :mod:`.language` finds by statistics. Word salad in a plausible order is beyond both. An answer cut at
the token limit is not broken by that.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from itertools import pairwise

from textunlearn.judges import language
from textunlearn.judges.language import CODE
from textunlearn.judges.text import items, unstuck, without_numbers, words

_LONGEST_PERIOD = 24
"""Words in the longest phrase whose repetition is looked for."""

_MOJIBAKE = re.compile(r"Ã[\x80-\xbf©¨¡³±¼¶¤§ª«º]|â€|Â[\xa0-\xbf]|ï¿½|ðŸ")
_RULE = re.compile(r"([-=_*.#|~+:\s])\1{2,}")
_RUN = re.compile(r"([^\W\d_])\1{9,}|(?:(\d)\2{29,})|(?:([^\W\d_])[\W_]+)(?:\3[\W_]+){7,}", re.I)
_PIECE = re.compile(r"([^<>]{2,12}?)\1{4,}", re.I)
_TAIL = re.compile(r"\w[^\n]*?([^\w\s])\1{19,}")
_NUMBER = re.compile(r"\d+")
_FENCE = re.compile(r"^\s*(?:[-*] |\d+[.)] )?```[\w+#-]*\s*$", re.M)
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{6,}")
_FUNCTION = set(
    re.findall(
        r"\w+",
        "a an the of to in on at for from with by and or but if than as is are was were be been it its this that these "
        "those he she they we you his her their our your my so not",
    )
)
_DETERMINERS = {"a", "an", "the", "his", "her", "their", "our", "your", "my"}
_VERBS_OF_BEING = {"is", "are", "was", "were"}
# Words that English never puts behind the key.
_CANNOT_FOLLOW = {
    word: {"a", "an", "the", "of", "and", "or", "but", "by", "be"} | _VERBS_OF_BEING for word in _DETERMINERS
}
_CANNOT_FOLLOW["of"] = {"of", "and", "or", "but", "be"} | _VERBS_OF_BEING
_CANNOT_FOLLOW["to"] = {"of", "and", "or", "but", "to"} | _VERBS_OF_BEING
_CANNOT_FOLLOW["and"] = _CANNOT_FOLLOW["or"] = _CANNOT_FOLLOW["but"] = {"and", "or", "but"}


def broken(text: str) -> str | None:
    """Why ``text`` is broken, or None where it is not."""
    if not text.strip():
        return "empty"
    if not any(c.isalnum() for c in text):
        symbols = {c for c in text if unicodedata.category(c) == "So"}
        if not symbols or len(text.strip()) >= 6 * len(symbols):  # a few emoji can be a fair answer
            return "no words"
        return None
    text, stuck = unstuck(text)
    if stuck >= 2:
        return "words run together"
    found = _empty_list(text) or _characters(text) or _pieces(text) or _lines(text) or _loop(text) or _shapes(text)
    if found is None and (language.score(text) or 0.0) > 0:
        return "words in no order"
    return found


def _empty_list(text: str) -> str | None:
    parts = items(text)
    if len(parts) >= 2:
        empty = [not any(c.isalnum() for c in part) for part in parts]
        # A last empty item is where the token limit cut, so it says nothing.
        if all(empty) or (sum(empty[:-1]) >= 3 and sum(empty) * 2 > len(empty)):
            return "a list with nothing behind the numbers"
    return None


def _characters(text: str) -> str | None:
    strange = sum(
        c == "\ufffd" or (unicodedata.category(c) in ("Cc", "Co", "Cn", "Cs") and c not in "\n\r\t") for c in text
    )
    if strange >= 2 or strange / len(text) > 0.05:
        return "control or replacement characters"
    if len(_MOJIBAKE.findall(text)) >= 3:
        return "mojibake"
    if _RUN.search(text):
        return "one character repeated"
    breaks = text.count("\n")
    if breaks >= 12 and breaks > 0.25 * len(text):
        return "line breaks over and over"
    if text.count(".") > 0.5 * len(text) and len(text) >= 20:
        return "dots over and over"
    shown = [c for c in _RULE.sub(r"\1", text) if not c.isspace() and c != "|"]
    if len(shown) >= 12 and sum(c.isalnum() or unicodedata.category(c)[0] == "M" for c in shown) / len(shown) < 0.3:
        return "hardly any letters"
    return None


def _pieces(text: str) -> str | None:
    """A piece of a word said over and over without a space between: "c_c_c_c_c"."""
    for hit in _PIECE.finditer(text):
        said = hit.group()
        if any(c.isalpha() for c in said) and len(said) >= max(14, 0.2 * len(text)) and len(set(said.lower())) > 1:
            return "a piece of a word over and over"
    if text.count("```") >= 4 and not _FENCE.search(text):
        return "code fences without code"
    return "one character repeated" if _TAIL.search(text) else None


def _lines(text: str) -> str | None:
    lines = [" ".join(words(without_numbers(line))) for line in CODE.sub("\n", text).splitlines()]
    lines = [line for line in lines if line]
    once = len(set(lines)) == 1 < len(lines)
    if len(lines) > 1 and len(lines[-1]) >= 4 and lines[-2].startswith(lines[-1]):
        lines[-1] = lines[-2]  # cut by the token limit
    lines = [line for line in lines if len(line) >= 8]
    if lines:
        line, count = Counter(lines).most_common(1)[0]
        if count >= 3 and (count / len(lines) >= 0.4 or f"\n{line}" * 3 in "\n" + "\n".join(lines)):
            return "the same line three times or more"
        if once and len(line.split()) >= 3:
            return "one line over and over"
        unnumbered = [_NUMBER.sub("", line).strip() for line in lines]
        line, count = Counter(unnumbered).most_common(1)[0]
        if count >= 4 and count / len(lines) >= 0.6 and len(line.split()) >= 4:
            return "the same line with another number"
    return None


def _loop(text: str) -> str | None:
    """A word or phrase said over and over, anywhere or at the end."""
    tokens = words(without_numbers(CODE.sub(" ", text)))
    count = len(tokens)
    if count >= 4 and len(set(tokens)) == 1:
        return "one word over and over"
    for period in range(1, min(_LONGEST_PERIOD, count // 3 + 1) + 1):
        run = 0
        for index in range(period, count):
            run = run + 1 if tokens[index] == tokens[index - period] else 0
            said = run + period
            at_end = index == count - 1
            # The token limit may cut the last time round: two and a half times a longer phrase are enough at the end.
            often = 5 if period == 1 else 2.5 * period if at_end and period >= 5 else 3 * period
            if run and said >= max(often, 5) and (said >= 0.3 * count or (at_end and said >= 8)):
                run_of = tokens[index - said + 1 : index + 1]
                if all(token.isdigit() for token in run_of) and (
                    len(set(run_of)) > 1 or said < 9 or said > 0.8 * count
                ):
                    continue  # rows of numbers may be data
                return "a word or phrase over and over"
    if count >= 30:
        tail = tokens[-60:]
        grams = [tuple(tail[i : i + 4]) for i in range(len(tail) - 3)]
        if len(set(grams)) / len(grams) < 0.4:
            return "the end repeats itself"
    if count >= 16:
        grams3 = list(zip(tokens, tokens[1:], tokens[2:], strict=False))[-60:]
        if len(set(grams3)) / len(grams3) < 0.5:
            return "the same words again and again"
    spoken = [token for token in tokens if not token.isdigit()]
    if len(spoken) >= 20 and len(set(spoken)) / min(len(spoken), 100) < 0.22:
        return "hardly any different words"
    return None


def _script(character: str) -> str:
    return unicodedata.name(character, "?").split(" ")[0]


def _odd(word: str) -> bool:
    """A shape that words of Latin script do not have."""
    lower = word.lower()
    if len(word) > 30 or _CONSONANTS.search(lower):
        return True
    if word.isupper() or not word.isascii():
        return False
    inner = sum(a.islower() and b.isupper() for a, b in pairwise(word))
    return (len(word) >= 4 and not set(lower) & set("aeiouy")) or inner >= 2


def _shapes(text: str) -> str | None:
    prose = CODE.sub(" ", text)
    scripts = Counter(_script(c) for c in prose if c.isalpha() and c not in "ªºµ")
    scripts.pop("MODIFIER", None)
    japanese = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}
    families = Counter[str]()
    for script, seen in scripts.items():
        families["CJK" if script in japanese else script] += seen
    if len([script for script, seen in families.items() if seen >= 2]) >= 4:
        return "four scripts mixed"
    tokens = re.findall(r"[^\W\d_]{2,}", prose)
    long = [token for token in tokens if len(token) >= 18 and token.isascii()]
    if len(long) >= 2 and sum(map(len, long)) > 0.3 * sum(map(len, tokens)):
        return "not words"
    if len(tokens) >= 6 and sum(map(_odd, tokens)) / len(tokens) > 0.35:
        return "not words"
    lower = words(without_numbers(prose))
    if len(lower) >= 8:
        function = sum(word in _FUNCTION for word in lower) / len(lower)
        pairs = list(pairwise(lower))
        wrong = sum(b in _CANNOT_FOLLOW.get(a, ()) for a, b in pairs)
        if (function > 0.85 and len(lower) >= 12) or (wrong >= 3 and wrong / len(pairs) > 0.12):
            return "function words in a row"
    return None
