"""Types of settings that several attacks have, and the one way in which an attack draws lots."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from textunlearn.attacks.typography import LAYOUTS
from textunlearn.errors import UserError
from textunlearn.records import Prompt, digest

T = TypeVar("T")


def _colour(name: str) -> str:
    from PIL import ImageColor

    ImageColor.getrgb(name)  # ValueError, which says so
    return name


def _layout(name: str) -> str:
    if name not in LAYOUTS:
        raise ValueError(f"there is no layout of that name; choose one of: {', '.join(LAYOUTS)}")
    return name


COLOUR = "a colour as CSS writes it"
Seed = Annotated[int, Field(ge=0, description="another seed draws other lots")]
Share = Annotated[float, Field(ge=0, le=1, description="0 to 1")]
Colour = Annotated[str, AfterValidator(_colour), Field(description=COLOUR)]
OwnColour = Annotated[str | None, AfterValidator(_colour), Field(description=COLOUR)]
"""None: as it is without."""
LayoutName = Annotated[str, AfterValidator(_layout), Field(description="a look, as of typography")]
Words = Annotated[str, Field(min_length=1, description="any words")]
Side = Annotated[int, Field(ge=16, le=4096, description="pixels a side")]


def salt(name: str, prompt: Prompt, seed: int) -> str:
    """What a lot is drawn from. Seed 0 leaves the seed out: cases made before there were seeds stay as they are."""
    return f"{name} {seed} {prompt.id}" if seed else f"{name} {prompt.id}"


def number(name: str, prompt: Prompt, seed: int = 0) -> int:
    """A whole number below 2 ** 256 for this prompt: the same on every machine."""
    return int.from_bytes(hashlib.sha256(salt(name, prompt, seed).encode()).digest(), "big")


def random_bytes(name: str, prompt: Prompt, seed: int, count: int) -> bytes:
    """``count`` evenly distributed bytes for this prompt.

    An extendable hash gives the same noise with every library version, which seeded generators do not promise.
    """
    return hashlib.shake_256(salt(name, prompt, seed).encode()).digest(count)


def shuffled(items: Sequence[T], name: str, prompt: Prompt, seed: int, key: Callable[[T], str] = str) -> list[T]:
    """``items`` in an order of their own for this prompt. It hangs on each one's ``key``, so one more or less moves no other."""
    return sorted(items, key=lambda item: digest(name, seed, key(item), prompt.id, length=64))


def lines_of(path: str | Path) -> tuple[str, ...]:
    """Lines of a UTF-8 file that are not blank. UserError if it is missing, not text or has none."""
    lines = tuple(line.strip("\r") for line in text_of(path).split("\n") if line.strip())
    if not lines:
        raise UserError(f"{path} holds no line; give a file with one entry a line")
    return lines


def text_of(path: str | Path) -> str:
    """A UTF-8 file's text. UserError if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; give one that exists, relative to the current folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}") from None


def files_in(folder: str | Path, *endings: str) -> tuple[Path, ...]:
    """Files of ``folder`` with one of these endings, by name. UserError if there are none."""
    if not Path(folder).is_dir():
        raise UserError(f"there is no folder {folder}; give one that exists, relative to the current folder")
    found = tuple(sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in endings and path.is_file()))
    if not found:
        raise UserError(f"the folder {folder} holds no file that ends in {', '.join(endings)}")
    return found
