"""The typed request beside an image: is it the image path that matters, or the words in the image?

After JailBreakV-28K's image types (arXiv 2404.03027): blank, noise, a photo that has nothing to do with the request, and
the request drawn. The first three say nothing; harmless requests beside them show what a mere image does to refusals.
``image_file`` and ``image_folder`` take pictures of your own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.attacks.parameters import Colour, LayoutName, Seed, Side, files_in, number, random_bytes, shuffled
from textunlearn.attacks.typography import LAYOUTS, render
from textunlearn.errors import UserError
from textunlearn.pictures import open_picture
from textunlearn.records import Prompt

SIDE = 336
"""Pixels a side: the input of LLaVA-1.5's vision tower."""


@ATTACKS.register("blank_image")
def blank_image(prompt: Prompt, colour: Colour = "#FFFFFF", side: Side = SIDE) -> Shown:
    """Beside a white square."""
    from PIL import Image

    return Shown(prompt.text, (Image.new("RGB", (side, side), colour),))


@ATTACKS.register("noise_image")
def noise_image(prompt: Prompt, seed: Seed = 0, side: Side = SIDE) -> Shown:
    """Beside a square of uniform colour noise, another one for each prompt."""
    from PIL import Image

    pixels = random_bytes("noise_image", prompt, seed, side * side * 3)
    return Shown(prompt.text, (Image.frombytes("RGB", (side, side), pixels),))


PHOTO = "grace_hopper.jpg"
"""Rear Admiral Grace Hopper, a public domain photo of the US Navy's, 512 x 600 pixels. It comes inside matplotlib."""
NO_WORDS = 480
"""Pixels from the photo's top: below them stands a name tag, which a model may read."""


@ATTACKS.register("photo_image")
def photo_image(prompt: Prompt, seed: Seed = 0) -> Shown:
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
    lot, mirrored = divmod(number("photo_image", prompt, seed), 2)
    lot, left = divmod(lot, photo.width - SIDE + 1)
    top = lot % (NO_WORDS - SIDE + 1)
    part = photo.crop((left, top, left + SIDE, top + SIDE))
    return Shown(prompt.text, (ImageOps.mirror(part) if mirrored else part,))


@ATTACKS.register("typed_and_drawn")
def typed_and_drawn(prompt: Prompt, layout: LayoutName = "plain") -> Shown:
    """Beside its own words drawn as ``typography_bare`` draws them: does the image undo what the words alone do not?"""
    return Shown(prompt.text, (render(prompt.text, LAYOUTS[layout]),))


PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def _picture(path: str | Path) -> Any:
    return open_picture(Path(path))


def _pictures(folder: str | Path) -> tuple[Path, ...]:
    found = files_in(folder, *PICTURES)
    for path in found:  # one that cannot be read is found now, not in the middle of a run
        _picture(path)
    return found


@ATTACKS.register("image_file")
def image_file(
    prompt: Prompt, file: Annotated[Any, BeforeValidator(_picture), Field(description="a picture")]
) -> Shown:
    """Beside a picture of your own, the same for every prompt."""
    return Shown(prompt.text, (file,))


@ATTACKS.register("image_folder")
def image_folder(
    prompt: Prompt,
    folder: Annotated[tuple[Path, ...], BeforeValidator(_pictures), Field(description="of pictures")],
    seed: Seed = 0,
) -> Shown:
    """Beside one of the pictures in a folder of your own, chosen for each prompt by the hash of the file's name."""
    chosen = shuffled(folder, "image_folder", prompt, seed, lambda path: path.name)[0]
    return Shown(prompt.text, (_picture(chosen),))
