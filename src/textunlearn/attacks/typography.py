"""Draw text into a square image the way FigStep does, with a font that every installation has.

FigStep's geometry (arXiv 2311.05608, its public code and images): 760 x 760 white, black FreeMono Bold of 80 px, lines
of 15 characters, text at (20, 10), 75 px from line to line, then "1." "2." "3." on lines of their own. FreeMono is not
on every machine, so DejaVu Sans Mono Bold, which comes inside matplotlib, stands in: at 80 px both are 48 px wide.
"""

from __future__ import annotations

import functools
import textwrap
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from PIL import Image, ImageFont

ASCENT = 0.8
"""Top of a line to its baseline, in ems: FreeMono's, which sets FigStep's line distance (0.8 · 80 + 11 = 75 px)."""
SMALLEST = 8
"""Pixels: below this the letters are no longer legible to anyone."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How text stands in the image. The defaults are FigStep's."""

    size: int = 760
    """Pixels a side."""
    font: str = "DejaVuSansMono-Bold.ttf"
    """A font file inside matplotlib, or a path to one."""
    points: int = 80
    """Pixels per em. Smaller is chosen if the text would not fit."""
    columns: int = 15
    """Characters a line at ``points``; more when the font shrinks."""
    origin: tuple[int, int] = (20, 10)
    """Left and top of the text, in pixels. The smaller of the two is kept free at the right and the bottom as well."""
    spacing: int = 11
    """Pixels between lines at ``points``."""
    ink: str = "#000000"
    paper: str = "#FFFFFF"
    numbered: bool = True
    """Empty list items "1." "2." "3." below the text."""


LAYOUTS: dict[str, Layout] = {
    "figstep": Layout(),
    "plain": Layout(numbered=False),
    "inverted": Layout(ink="#FFFFFF", paper="#000000", numbered=False),
    "red_on_yellow": Layout(ink="#B00020", paper="#FFF3B0", numbered=False),
    "low_contrast": Layout(ink="#777777", paper="#DDDDDD", numbered=False),
    "small": Layout(points=62, columns=19, spacing=25, numbered=False),
    "mono_regular": Layout(font="DejaVuSansMono.ttf", numbered=False),
    "mono_oblique": Layout(font="DejaVuSansMono-BoldOblique.ttf", numbered=False),
    "sans_bold": Layout(font="DejaVuSans-Bold.ttf", points=72, columns=16, numbered=False),
    "sans": Layout(font="DejaVuSans.ttf", points=80, columns=16, numbered=False),
    "serif": Layout(font="DejaVuSerif.ttf", points=80, columns=16, numbered=False),
    "serif_bold": Layout(font="DejaVuSerif-Bold.ttf", points=72, columns=16, numbered=False),
    "times_bold": Layout(font="STIXGeneralBol.ttf", points=90, columns=17, numbered=False),
    "offset": Layout(origin=(60, 120), points=72, columns=14, spacing=17, numbered=False),
}
"""Other ways to write the same words, to see whether a result hangs on one font, colour or place. Smaller letters keep
about FigStep's distance between lines, below which the built-in model takes two lines for one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Text set for a layout: the font size and lines at which all of it fits, and where the lines stand (pixels)."""

    points: int
    lines: tuple[str, ...]
    left: int
    baselines: tuple[int, ...]


@functools.lru_cache(maxsize=32)
def font_path(font: str) -> Path:
    """Where a layout's font lies; UserError if it is neither a font of matplotlib's nor a file."""
    import matplotlib

    for path in (Path(matplotlib.get_data_path(), "fonts", "ttf", font), Path(font)):
        if path.is_file():
            return path
    raise UserError(f"there is no font {font!r}; give a path to a .ttf file or a font of matplotlib ({Layout().font})")


@functools.lru_cache(maxsize=256)
def _load(font: str, points: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    # BASIC: the same with and without libraqm, which not every machine has
    return ImageFont.truetype(str(font_path(font)), points, layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(maxsize=32)
def _characters(font: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font_path(font))).get_charmap())


def clean(text: str) -> str:
    """``text`` as it is drawn: composed characters (NFC), single spaces, no line breaks (FigStep fills lines anew)."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def undrawable(text: str, layout: Layout = LAYOUTS["figstep"]) -> str:
    """The characters of ``text`` that this layout would draw wrongly, sorted: those not in the font, or of a script
    that needs shaping (right to left, combining marks)."""
    known = _characters(layout.font)

    def good(char: str) -> bool:
        plain = not unicodedata.combining(char) and unicodedata.bidirectional(char) not in ("R", "AL")
        return plain and (ord(char) in known) and unicodedata.category(char)[0] != "C"

    return "".join(sorted({char for char in clean(text) if not good(char)}))


def _set(text: str, layout: Layout, points: int) -> Setting | None:
    """The text at exactly this font size, or None if it does not fit."""
    font = _load(layout.font, points)
    scale = points / layout.points
    free = min(layout.origin)
    left, top = layout.origin
    pitch = ASCENT * points + layout.spacing * scale
    most = max(1, int(layout.columns / scale))
    if len(text) > (most + 1) * layout.size / pitch:
        return None  # too long even if every line were full; saves wrapping long texts dozens of times
    # In a proportional font a line may be too wide at the nominal count of characters: then try fewer.
    for columns in range(most, 0, -1):
        lines = [*textwrap.wrap(text, columns), *(["1.", "2.", "3."] if layout.numbered else [])]
        if not lines:
            return Setting(points, (), left, ())
        boxes = [font.getbbox(line, anchor="ls") for line in lines]
        # Accented capitals rise above the ascent: the first line moves down for them.
        first = top + max(ASCENT * points, -boxes[0][1])
        baselines = tuple(round(first + pitch * row) for row in range(len(lines)))
        if max(base + box[3] for base, box in zip(baselines, boxes, strict=True)) > layout.size - free:
            return None  # fewer columns would only add lines
        inside = all(left + box[0] >= 1 and left + box[2] <= layout.size - free for box in boxes)
        if inside:
            return Setting(points, tuple(lines), left, baselines)
    return None


def fit(text: str, layout: Layout = LAYOUTS["figstep"]) -> Setting:
    """Set ``text`` at the layout's font size, or at the largest smaller one at which nothing is cut off.

    Words longer than a line are broken. UserError if the text has characters that cannot be drawn or is too long for
    8 px letters.
    """
    wrong = undrawable(text, layout)
    if wrong:
        raise UserError(
            f"the font {layout.font} cannot draw {wrong!r} in the request {text[:40]!r}; leave the request out or set "
            "the layout's font to a file that has these characters"
        )
    for points in range(layout.points, SMALLEST - 1, -1):
        setting = _set(clean(text), layout, points)
        if setting is not None:
            return setting
    raise UserError(
        f"a request of {len(text)} characters ({text[:40]!r} …) does not fit into an image of {layout.size} pixels; "
        "leave it out or make the layout larger"
    )


def render(text: str, layout: Layout = LAYOUTS["figstep"]) -> Image.Image:
    """``text`` as an RGB image of ``layout.size`` x ``layout.size`` pixels. Errors as in :func:`fit`."""
    from PIL import Image, ImageDraw

    setting = fit(text, layout)
    image = Image.new("RGB", (layout.size, layout.size), layout.paper)
    draw = ImageDraw.Draw(image)
    for line, baseline in zip(setting.lines, setting.baselines, strict=True):
        draw.text((setting.left, baseline), line, layout.ink, _load(layout.font, setting.points), anchor="ls")
    return image
