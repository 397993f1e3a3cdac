"""Pictures in files: opened in one way everywhere, and told apart by their bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 80_000_000
"""Larger pictures are refused unread: a file of a few kilobytes can stand for gigabytes of pixels."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO")
"""What is read. Not PostScript, say, which Pillow gives to another program."""


def open_picture(path: Path) -> Image.Image:
    """The picture of ``path`` in RGB, 8 bits a channel: on white where it is transparent, the first frame where there are several.

    UserError if it is missing, cannot be read, or has more than `MOST_PIXELS`.
    """
    return read_picture(path, f"the image {path}")


def read_picture(file: Path | BinaryIO, name: str, most_pixels: int | None = None) -> Image.Image:
    """The same of an open file too, which errors call ``name``."""
    from PIL import Image, UnidentifiedImageError

    Image.init()
    most_pixels = MOST_PIXELS if most_pixels is None else most_pixels
    try:
        with Image.open(file, formats=[kind for kind in FORMATS if kind in Image.OPEN]) as image:
            if image.width * image.height > most_pixels:  # before any of them is decoded
                raise UserError(
                    f"{name} has {image.width} x {image.height} pixels, more than {most_pixels:,}; make it smaller"
                )
            return _rgb(image)
    except (UserError, MemoryError):
        raise
    except FileNotFoundError:
        raise UserError(f"there is no image {file}; check its name") from None
    except UnidentifiedImageError:
        raise UserError(f"{name} cannot be read: it is none of {', '.join(FORMATS)}; save it as PNG or JPEG") from None
    except Exception as error:
        # Pillow's readers raise whatever they trip over: OSError, SyntaxError, ValueError, struct.error, ...
        raise UserError(
            f"{name} cannot be read: {error or type(error).__name__}; get it again, or save it as PNG"
        ) from None


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.has_transparency_data:  # or a drawing on a transparent ground would turn all black
        shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _eight_bit(image)
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey values of more bits as 8 bits: Pillow would cut them off at 255, and most of a 16-bit picture turn white."""
    deep = image.mode.startswith("I;16")
    highest: Any = 65535 if deep else image.getextrema()[1]
    white = next((white for white in (1 if image.mode == "F" else 255, 255, 65535) if highest <= white), None)
    if white is None:
        raise ValueError(f"which of its values is white cannot be told (the highest is {highest})")
    scale = 255 / white
    return image.point(lambda value: value * scale).convert("L")


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes: unlike a hash of pixels it does not depend on who decodes the picture."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pixel_hash(image: Image.Image) -> str:
    """Hex SHA-256 of an image's mode, size and pixels: the same however the file is compressed."""
    return hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode() + image.tobytes()).hexdigest()
