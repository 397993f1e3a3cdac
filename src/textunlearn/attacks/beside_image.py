"""The typed request beside an image that says nothing: is it the image path that matters, or the words in the image?

After JailBreakV-28K's blank and noise images (arXiv 2404.03027).
"""

from __future__ import annotations

import hashlib

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.records import Prompt

SIDE = 336
"""Pixels a side: the input of LLaVA-1.5's vision tower."""


@ATTACKS.register("blank_image")
def blank_image(prompt: Prompt) -> Shown:
    """Beside a white square."""
    from PIL import Image

    return Shown(prompt.text, Image.new("RGB", (SIDE, SIDE), "#FFFFFF"))


@ATTACKS.register("noise_image")
def noise_image(prompt: Prompt) -> Shown:
    """Beside a square of uniform colour noise, another one for each prompt."""
    from PIL import Image

    # an extendable hash gives the same noise with every library version, which seeded generators do not promise
    noise = hashlib.shake_256(f"noise_image {prompt.id}".encode()).digest(SIDE * SIDE * 3)
    return Shown(prompt.text, Image.frombytes("RGB", (SIDE, SIDE), noise))
