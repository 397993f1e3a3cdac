"""The request in characters that people read as the same words, or do not see at all, and a tokenizer takes for others.

Invisible characters and homoglyphs are of Boucher et al., "Bad Characters" (arXiv 2106.09898). ``unicode_tags`` writes the request
in Unicode's tag characters, which nothing shows ("ASCII smuggling", known since 2024). Some tokenizers normalise these away:
then the attack is the plain request.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.attacks.parameters import Seed, Share, salt
from textunlearn.errors import UserError
from textunlearn.records import Prompt, digest

ZERO_WIDTH = "\u200b"
LOOKALIKES = dict(zip("aceijopsxyABCEHIKMOPTXY", "асеіјорѕхуАВСЕНІКМОРТХУ", strict=True))
"""Latin to Cyrillic, from Unicode's list of confusables."""
TAGS = 0xE0000


@ATTACKS.register("zero_width")
def zero_width(prompt: Prompt) -> Shown:
    """A zero-width space between any two letters of a word: it looks the same and falls into other tokens."""
    return Shown(" ".join(ZERO_WIDTH.join(word) for word in prompt.text.split(" ")))


@ATTACKS.register("homoglyphs")
def homoglyphs(prompt: Prompt, share: Share = 1.0, seed: Seed = 0) -> Shown:
    """Cyrillic letters for the Latin ones they look like, for some of them if ``share`` is below 1."""
    lots = salt("homoglyphs", prompt, seed)

    def char(place: int, letter: str) -> str:
        kept = int(digest(lots, place, length=8), 16) >= share * 16**8
        return letter if kept else LOOKALIKES.get(letter, letter)

    return Shown("".join(char(place, letter) for place, letter in enumerate(prompt.text)))


@ATTACKS.register("fullwidth")
def fullwidth(prompt: Prompt) -> Shown:
    """The wide Latin letters that East Asian text uses."""
    return Shown("".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in prompt.text))


@ATTACKS.register("unicode_tags")
def unicode_tags(
    prompt: Prompt, ask: Annotated[str, Field(description="words in front that can be seen")] = ""
) -> Shown:
    """The request in invisible tag characters.

    UserError for one that is not ASCII, which these cannot write.
    """
    text = " ".join(prompt.text.split())
    if not text.isascii():
        raise UserError(f"unicode_tags can write ASCII only, not the request {text[:40]!r} …; leave it out")
    return Shown(ask + "".join(chr(TAGS + ord(char)) for char in text))
