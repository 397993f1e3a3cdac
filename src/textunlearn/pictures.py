"""Pictures in files: opened in one way everywhere, and told apart by their bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from PIL import Image


def open_picture(path: Path) -> Image.Image:
    """The picture of ``path`` in RGB, on white where it is transparent. UserError if it is missing or cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.has_transparency_data:  # or a drawing on a transparent ground would turn all black
                shown = image.convert("RGBA")
                return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
            return image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"there is no image {path}") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise UserError(f"the image {path} cannot be read: {error}") from None


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes: unlike a hash of pixels it does not depend on who decodes the picture."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pixel_hash(image: Image.Image) -> str:
    """Hex SHA-256 of an image's mode, size and pixels: the same however the file is compressed."""
    return hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode() + image.tobytes()).hexdigest()
