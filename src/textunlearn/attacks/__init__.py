"""Attacks: a request in, what the model is shown out. One file an attack, or one small family of them.

An attack changes how a request is put, never what it asks: all its words stay, in the text or in the image. To add one,
write a file here (or name a module under the entry point ``textunlearn.plugins``)::

    @ATTACKS.register("shout")
    def shout(prompt: Prompt) -> Shown:
        return Shown(prompt.text.upper())
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from textunlearn.errors import UserError
from textunlearn.pictures import open_picture
from textunlearn.records import Prompt
from textunlearn.registry import Registry

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Shown:
    """What the model sees of one request."""

    text: str
    """The user's turn; "" if the image is all there is."""
    image: Image.Image | None = None
    """RGB image shown before the text."""
    prefill: str = ""
    """Words put at the start of the model's own turn."""


class Attack(Protocol):
    """A pure function: the same prompt gives the same words and pixels on every call and machine (pixels: with the same
    FreeType). Randomness comes from a hash of ``prompt.id``. UserError if this prompt cannot be put that way."""

    def __call__(self, prompt: Prompt, /) -> Shown: ...


ATTACKS: Registry[Attack] = Registry("attack", "textunlearn.attacks")


def show(attack: str, prompt: Prompt) -> Shown:
    """What the model sees of ``prompt`` under the attack of that name.

    The one rule for requests that come with a picture of their own: an attack on the words keeps the picture, and an attack that
    draws one cannot be used (there is one place for a picture).

    Raises:
        UserError: an unknown attack; a prompt that cannot be put that way; a picture that is missing or damaged.
    """
    shown = ATTACKS.get(attack)(prompt)
    if not prompt.image:
        return shown
    if shown.image is not None:
        raise UserError(
            f"the attack {attack!r} draws a picture, but the requests of {prompt.source} have pictures of their own; "
            "use an attack on the words, such as direct, or a set without pictures"
        )
    return replace(shown, image=open_picture(Path(prompt.image)))
