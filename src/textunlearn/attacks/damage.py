"""What befalls a picture on its way: turned, out of focus, grainy, saved as JPEG. The same pixels on every call."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def turned(image: Image.Image, degrees: float, paper: str) -> Image.Image:
    """Counter-clockwise, then scaled to its old size: corners are never cut off. ``paper`` fills what comes free."""
    from PIL import Image

    if not degrees % 360:
        return image
    whole = image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=paper)
    return whole.resize(image.size, Image.Resampling.LANCZOS) if whole.size != image.size else whole


def blurred(image: Image.Image, radius: float) -> Image.Image:
    """Gaussian blur of ``radius`` pixels."""
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(radius)) if radius else image


def grainy(image: Image.Image, amount: float, lots: bytes) -> Image.Image:
    """Even noise on each pixel and channel, of up to ``amount`` (0 to 1) of the full range; ``lots``: a byte for each."""
    import numpy as np
    from PIL import Image

    if not amount:
        return image
    pixels = np.asarray(image, np.int32)
    grain = (np.frombuffer(lots, np.uint8).astype(np.int32).reshape(pixels.shape) - 128) * round(amount * 255) // 128
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8), image.mode)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """As it comes back from a JPEG file of this quality; 0: as it is."""
    from PIL import Image

    if not quality:
        return image
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return Image.open(buffer).convert(image.mode)
