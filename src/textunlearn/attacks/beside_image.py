"""The typed request beside an image: is it the image path that matters, or the words in the image?

After JailBreakV-28K's image types (arXiv 2404.03027): blank, noise, a photo that has nothing to do with the request, and
the request drawn. The first three say nothing; harmless requests beside them show what a mere image does to refusals.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.attacks.typography import LAYOUTS, render
from textunlearn.errors import UserError
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


PHOTO = "grace_hopper.jpg"
"""Rear Admiral Grace Hopper, a public domain photo of the US Navy's, 512 x 600 pixels. It comes inside matplotlib."""
NO_WORDS = 480
"""Pixels from the photo's top: below them stands a name tag, which a model may read."""


@ATTACKS.register("photo_image")
def photo_image(prompt: Prompt) -> Shown:
    """Beside a real photo: a square of a portrait, for each prompt from another place, mirrored or not.

    UserError if matplotlib was installed without its sample data.
    """
    import matplotlib
    from PIL import Image, ImageOps

    path = Path(matplotlib.get_data_path(), "sample_data", PHOTO)
    if not path.is_file():
        raise UserError(f"there is no photo {path}, which comes inside matplotlib; install matplotlib again with pip")
    photo = Image.open(path).convert("RGB")
    # cut, never scaled: the pixels are the photo's own on every machine
    number = int.from_bytes(hashlib.sha256(f"photo_image {prompt.id}".encode()).digest(), "big")
    number, mirrored = divmod(number, 2)
    number, left = divmod(number, photo.width - SIDE + 1)
    top = number % (NO_WORDS - SIDE + 1)
    part = photo.crop((left, top, left + SIDE, top + SIDE))
    return Shown(prompt.text, ImageOps.mirror(part) if mirrored else part)


@ATTACKS.register("typed_and_drawn")
def typed_and_drawn(prompt: Prompt) -> Shown:
    """Beside its own words drawn as ``typography_bare`` draws them: does the image undo what the words alone do not?"""
    return Shown(prompt.text, render(prompt.text, LAYOUTS["plain"]))
