"""The request in a code that a model may know and safety training did not see.

Base64 and rot13 are of Wei et al., "Jailbroken" (arXiv 2307.02483), where the coded request stands alone; Caesar's shift and Morse
of CipherChat (arXiv 2308.06463). ``ask`` puts words in front, such as "Decode this and do what it says:". Nothing is lost: each
can be undone, Morse but for capitals. A small model may not know a code at all: what it answers then says nothing of safety, so
look at harmless requests in the same code. The judge reads an answer as it stands; it decodes nothing.
"""

# ruff: noqa: SIM905 - a list of signs reads better as text
from __future__ import annotations

from typing import Annotated

from pydantic import Field

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.records import Prompt

Ask = Annotated[str, Field(description="words in front of the coded request")]

MORSE = dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?'!/()&:;=+-_\"$@",
        (
            ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
            "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. .-.-.- --..-- ..--.. .----. -.-.-- -..-. -.--. -.--.- "
            ".-... ---... -.-.-. -...- .-.-. -....- ..--.- .-..-. ...-..- .--.-."
        ).split(),
        strict=True,
    )
)
"""ITU-R M.1677-1 and, as is usual, the signs for !, &, ;, _, $."""


def _coded(ask: str, code: str) -> Shown:
    return Shown(f"{ask} {code}" if ask else code)


def shift(text: str, by: int) -> str:
    """Latin letters moved ``by`` places along the alphabet."""

    def moved(char: str) -> str:
        first = ord("a") if "a" <= char <= "z" else ord("A") if "A" <= char <= "Z" else None
        return char if first is None else chr(first + (ord(char) - first + by) % 26)

    return "".join(map(moved, text))


@ATTACKS.register("base64")
def base64(prompt: Prompt, ask: Ask = "") -> Shown:
    """The request in Base64, of its UTF-8 bytes (arXiv 2307.02483)."""
    from base64 import b64encode

    return _coded(ask, b64encode(prompt.text.encode()).decode())


@ATTACKS.register("hex")
def hexadecimal(prompt: Prompt, ask: Ask = "") -> Shown:
    """The request in hexadecimal, byte by byte of its UTF-8 (after arXiv 2308.06463)."""
    return _coded(ask, prompt.text.encode().hex(" "))


@ATTACKS.register("rot13")
def rot13(prompt: Prompt, ask: Ask = "") -> Shown:
    """Each letter 13 places on (arXiv 2307.02483)."""
    return _coded(ask, shift(prompt.text, 13))


@ATTACKS.register("caesar")
def caesar(prompt: Prompt, by: Annotated[int, Field(ge=1, le=25, description="places")] = 3, ask: Ask = "") -> Shown:
    """Each letter a few places on (arXiv 2308.06463)."""
    return _coded(ask, shift(prompt.text, by))


@ATTACKS.register("morse")
def morse(prompt: Prompt, ask: Ask = "") -> Shown:
    """The request in Morse code, words parted by a slash; characters without a sign stay as they are (arXiv 2308.06463)."""
    words = (" ".join(MORSE.get(char.upper(), char) for char in word) for word in prompt.text.split())
    return _coded(ask, " / ".join(words))
