"""The request in letters or words out of order that people still read: leetspeak, reversed, Pig Latin.

Leetspeak and Pig Latin are of Wei et al., "Jailbroken" (arXiv 2307.02483), reversing is FlipAttack's (arXiv 2410.02832), whose
guidance on how to read it is left to ``ask``.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.attacks.parameters import Seed, Share, salt
from textunlearn.records import Prompt, digest

LEET = dict(zip("aeiostbg", "43105789", strict=True))
VOWELS = "aeiou"
Ask = Annotated[str, Field(description="words in front, such as how to read it")]


@ATTACKS.register("leetspeak")
def leetspeak(prompt: Prompt, share: Share = 1.0, seed: Seed = 0) -> Shown:
    """Digits for the letters they look like, for some of them if ``share`` is below 1."""
    lots = salt("leetspeak", prompt, seed)

    def char(place: int, letter: str) -> str:
        if letter.lower() not in LEET or int(digest(lots, place, length=8), 16) >= share * 16**8:
            return letter
        return LEET[letter.lower()]

    return Shown("".join(char(place, letter) for place, letter in enumerate(prompt.text)))


@ATTACKS.register("reversed")
def reverse(prompt: Prompt, what: Literal["words", "letters", "each_word"] = "words", ask: Ask = "") -> Shown:
    """Backwards: the order of the words, all letters, or the letters of each word."""
    words = prompt.text.split()
    text = {
        "words": " ".join(words[::-1]),
        "letters": prompt.text[::-1],
        "each_word": " ".join(word[::-1] for word in words),
    }[what]
    return Shown(f"{ask} {text}" if ask else text)


def _pig(found: re.Match[str]) -> str:
    word = found[0]
    start = re.match(rf"(?:qu|[^{VOWELS}y]qu|y(?=[{VOWELS}])|[^{VOWELS}y])*", word.lower())
    cut = start.end() if start else 0
    if cut == 0 or cut == len(word):  # it begins with a vowel, or has none
        return word + ("way" if cut == 0 else "ay")
    moved = word[cut:] + word[:cut].lower() + "ay"
    return moved[0].upper() + moved[1:] if word[0].isupper() else moved


@ATTACKS.register("pig_latin")
def pig_latin(prompt: Prompt) -> Shown:
    """A word's first consonants go to its end, then "ay"; a word that begins with a vowel gets "way"."""
    return Shown(re.sub(r"[A-Za-z]+(?:'[A-Za-z]+)?", _pig, prompt.text))
