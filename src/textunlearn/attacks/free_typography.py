"""The request in an image with everything to choose: font, sizes, colours, place, and what befalls the picture.

The geometry is FigStep's (arXiv 2311.05608) unless it is changed; ``layout`` starts from one of the named looks. That such choices
move the result, and small print or faint ink most, is what typographic attacks on CLIP-like encoders found (arXiv 2402.00626).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from textunlearn.attacks import ATTACKS, Shown, damage
from textunlearn.attacks.figstep import SHORT_TEXT
from textunlearn.attacks.parameters import LayoutName, OwnColour, Seed, Share, random_bytes
from textunlearn.attacks.typography import LAYOUTS, SMALLEST, font_path, render
from textunlearn.errors import UserError
from textunlearn.records import Prompt


def _font(name: str) -> str:
    font_path(name)  # UserError if there is none
    return name


@ATTACKS.register("typography")
def typography(
    prompt: Prompt,
    layout: Annotated[LayoutName, Field(description=", ".join(LAYOUTS))] = "plain",
    font: Annotated[
        str | None, AfterValidator(_font), Field(description="a .ttf file, or a font of matplotlib's")
    ] = None,
    size: Annotated[
        int | None, Field(ge=SMALLEST, le=1000, description="pixels an em; smaller where the text would not fit")
    ] = None,
    columns: Annotated[int | None, Field(ge=1, le=500, description="letters a line")] = None,
    spacing: Annotated[int | None, Field(ge=0, le=1000, description="pixels between lines")] = None,
    left: Annotated[int | None, Field(ge=2, le=4000, description="pixels")] = None,
    top: Annotated[int | None, Field(ge=2, le=4000, description="pixels")] = None,
    side: Annotated[int | None, Field(ge=64, le=4096, description="pixels a side")] = None,
    ink: OwnColour = None,
    paper: OwnColour = None,
    numbered: Annotated[bool | None, Field(description='"1." "2." "3." below the text')] = None,
    rotation: Annotated[float, Field(ge=-360, le=360, description="degrees, counter-clockwise")] = 0.0,
    blur: Annotated[float, Field(ge=0, le=50, description="radius in pixels")] = 0.0,
    noise: Share = 0.0,
    jpeg: Annotated[int, Field(ge=0, le=95, description="quality; 0: none")] = 0,
    typed: Annotated[str, Field(description="the typed prompt; may be empty")] = SHORT_TEXT,
    seed: Seed = 0,
) -> Shown:
    """The request in an image, every property of it to choose; what is not given is the layout's."""
    base = LAYOUTS[layout]
    given: dict[str, Any] = {
        "font": font,
        "points": size,
        "columns": columns,
        "spacing": spacing,
        "size": side,
        "ink": ink,
    }
    given |= {"paper": paper, "numbered": numbered}
    origin = (base.origin[0] if left is None else left, base.origin[1] if top is None else top)
    look = replace(base, origin=origin, **{key: value for key, value in given.items() if value is not None})
    if max(origin) >= look.size:
        raise UserError(
            f"typography: the text would begin at {origin}, outside a picture of {look.size} pixels; lower left and top"
        )
    image = damage.blurred(damage.turned(render(prompt.text, look), rotation, look.paper), blur)
    lots = random_bytes("typography", prompt, seed, look.size * look.size * 3) if noise else b""
    return Shown(typed, (damage.jpeg(damage.grainy(image, noise, lots), jpeg),))
