"""Attacks: a request in, what the model is shown out. One file an attack, or one small family of them.

An attack changes how a request is put, never what it asks: all its words stay, in the text, the image or the sound. To add one,
write a file here (or name a module under the entry point ``textunlearn.plugins``)::

    @ATTACKS.register("shout")
    def shout(prompt: Prompt, marks: int = 1) -> Shown:
        return Shown(prompt.text.upper() + "!" * marks)

Arguments after the first are its settings: typed, so that an expression such as ``shout(marks=3) | figstep`` can be checked
(`textunlearn.attacks.grammar`). docs/attacks.md goes through a whole one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from textunlearn.records import Prompt
from textunlearn.registry import Registry

if TYPE_CHECKING:
    from PIL import Image

    from textunlearn.sounds import Sound


@dataclass(frozen=True, slots=True)
class Shown:
    """What the model sees of one request."""

    text: str
    """The user's turn; "" if images or sounds are all there is."""
    images: tuple[Image.Image, ...] = ()
    """RGB images shown before the text, in this order."""
    prefill: str = ""
    """Words put at the start of the model's own turn."""
    sounds: tuple[Sound, ...] = ()
    """Heard after the images and before the text, in this order."""


class Attack(Protocol):
    """A pure function: the same prompt gives the same words and pixels on every call and machine (pixels: with the same
    FreeType). Randomness comes from a hash of ``prompt.id``. UserError if this prompt cannot be put that way."""

    def __call__(self, prompt: Prompt, /) -> Shown: ...


ATTACKS: Registry[Callable[..., Shown]] = Registry("attack", "textunlearn.attacks")
"""Attacks by name, each an `Attack` once its settings are given (`textunlearn.attacks.grammar.resolve` does that)."""
