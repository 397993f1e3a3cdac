"""Training pictures for the reader: text drawn with many fonts, sizes and layouts, with the exact label of every cell.

Glyph bitmaps are made once by Pillow (font x size x sub-pixel phase) and then only copied, some thousands of images a second
on one core, which is what makes training in minutes possible.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from textunlearn.vlm.builtin.reader import CELL_HEIGHT, CELL_WIDTH, CHARACTERS

SIZE = 160
ROWS, COLUMNS = SIZE // CELL_HEIGHT, SIZE // CELL_WIDTH
NEWLINE = "\n"
Image8 = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Glyphs:
    """One font at one size (pixels an em): for each character ``(2 vertical, 4 horizontal phases, height, width)`` bitmaps."""

    size: float
    baseline: int
    bitmaps: list[Image8]
    advances: list[float]
    space: float

    @classmethod
    def make(cls, font: Path, size: float) -> Glyphs:
        big = ImageFont.truetype(str(font), round(size * 4), layout_engine=ImageFont.Layout.BASIC)
        height, baseline = math.ceil(size * 1.35) + 2, round(size)
        bitmaps, advances = [], []
        for character in CHARACTERS:
            advance = big.getlength(character) / 4
            width = math.ceil(advance) + 5
            phases = np.empty((2, 4, height, width), np.uint8)
            for y in range(2):
                for x in range(4):
                    canvas = Image.new("L", (width * 4, height * 4))
                    ImageDraw.Draw(canvas).text(
                        (8 + x, baseline * 4 + y * 2), character, font=big, fill=255, anchor="ls"
                    )
                    phases[y, x] = np.asarray(canvas, np.float32).reshape(height, 4, width, 4).mean((1, 3)).round()
            bitmaps.append(phases)
            advances.append(advance)
        return cls(size, baseline, bitmaps, advances, big.getlength(" ") / 4)


@dataclass(frozen=True)
class Drawn:
    """``ink (160, 160)`` with 255 = ink; ``character (10, 40)`` 0 = blank, else index + 1; ``starts (10, 40)``; the words that fitted."""

    ink: Image8
    character: Labels
    starts: Labels
    words: tuple[str, ...]


def draw(words: list[str], glyphs: Glyphs, rng: random.Random) -> Drawn:
    """Lay ``words`` (or NEWLINE) out from the top left with random margins, line pitch and letter spacing."""
    size = glyphs.size
    pitch = max(15.7, size * rng.uniform(0.92, 1.35))
    left, top = rng.uniform(1, 8), rng.uniform(-2, 8) if rng.random() < 0.6 else rng.uniform(-2, 40)
    tracking = rng.uniform(-0.3, 0.6) if rng.random() < 0.5 else 0.0
    right = SIZE - 1 - (rng.uniform(0, 20) if rng.random() < 0.5 else 0)
    space = max(glyphs.space, 3.2) * (rng.uniform(0.9, 1.3) if rng.random() < 0.3 else 1)
    margin = math.ceil(size * 1.35) + 6
    canvas = np.zeros((SIZE + 2 * margin, SIZE + 2 * margin), np.uint8)
    character, starts = np.zeros((ROWS, COLUMNS), np.int64), np.zeros((ROWS, COLUMNS), np.int64)
    done: list[str] = []
    x, y, fresh, last_column, last_row = left, top, True, -1, -1
    for word in words:
        indices = [ord(c) - 33 for c in word] if word != NEWLINE else []
        width = sum(glyphs.advances[i] + tracking for i in indices)
        if word == NEWLINE or (not fresh and x + space + width > right):
            if not fresh:
                x, y, fresh, last_column = left, y + pitch, True, -1
            if word == NEWLINE:
                continue
        if width > right - left:
            continue
        if y + glyphs.baseline + 0.15 * size > SIZE:
            break
        # A line belongs to the row that holds the middle of its x-height; two lines never share one.
        row = max(int((y + glyphs.baseline - 0.27 * size) // CELL_HEIGHT), last_row + 1) if fresh else last_row
        if not 0 <= row < ROWS:
            break
        pen = x if fresh else x + space
        columns, at, previous = [], pen, last_column
        for i in indices:
            previous = max(int((at + glyphs.advances[i] / 2) // CELL_WIDTH), previous + 1)
            columns.append(previous)
            at += glyphs.advances[i] + tracking
        if previous >= COLUMNS:
            x, y, fresh, last_column = left, y + pitch, True, -1
            continue
        for place, (i, column) in enumerate(zip(indices, columns, strict=True)):
            character[row, column], starts[row, column] = i + 1, place == 0
            quarter, half = round((pen - 2) * 4), round(y * 2)
            bitmap = glyphs.bitmaps[i][half & 1, quarter & 3]
            px, py = (quarter >> 2) + margin, (half >> 1) + margin
            target = canvas[py : py + bitmap.shape[0], px : px + bitmap.shape[1]]
            np.maximum(target, bitmap[: target.shape[0], : target.shape[1]], out=target)
            pen += glyphs.advances[i] + tracking
        x, last_column, fresh, last_row = pen, previous, False, row
        done.append(word)
    return Drawn(canvas[margin : margin + SIZE, margin : margin + SIZE], character, starts, tuple(done))


def texture(rng: random.Random) -> Drawn:
    """A picture without text (blurred noise and shapes), all blank: the reader must not see letters in photos."""
    noise = np.random.default_rng(rng.randrange(1 << 30))
    field = np.zeros((SIZE, SIZE), np.float32)
    for cells in (3, 6, 12, 30, 70):
        if rng.random() < 0.6:
            small = Image.fromarray(noise.random((cells, cells), np.float32))
            field += rng.random() * np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    field = (field - field.min()) / max(float(np.ptp(field)), 1e-3)
    image = Image.fromarray((field * 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(0, 12)):
        x, y, grey = rng.randrange(SIZE), rng.randrange(SIZE), rng.randrange(256)
        box = (x, y, x + rng.randint(2, 60), y + rng.randint(2, 60))
        kind, fill = rng.random(), grey if rng.random() < 0.6 else None
        if kind < 0.4:
            pen.line((x, y, x + rng.randint(-90, 90), y + rng.randint(-90, 90)), fill=grey, width=rng.randint(1, 6))
        elif kind < 0.7:
            pen.ellipse(box, fill=fill, outline=grey)
        else:
            pen.rectangle(box, fill=fill, outline=grey)
    blank = np.zeros((ROWS, COLUMNS), np.int64)
    return Drawn(np.asarray(image), blank, blank, ())


class Corpus:
    """Endless word sequences to draw: running English, loose vocabulary words, headed lists, and random strings.

    Args:
        sentences: running text.
        vocabulary: single words, so that rare words and names are read as well as common ones.
    """

    def __init__(self, sentences: list[str], vocabulary: list[str]) -> None:
        self.sentences, self.vocabulary = sentences, vocabulary

    def words(self, rng: random.Random) -> list[str]:
        kind = rng.random()
        if kind < 0.55:
            words = rng.choice(self.sentences).split(" ")
            if len(words) > 9:
                start = rng.randrange(len(words) - 7)
                words = words[start : start + (rng.randint(4, 9) if kind < 0.2 else 40)]
            if kind < 0.2:
                words = [*words, NEWLINE, "1.", NEWLINE, "2.", NEWLINE, "3."]
        elif kind < 0.97:
            mark = rng.choice([",", ".", "?", "!", ":", ";", "'s", "'t", ")"])
            words = [
                rng.choice(self.vocabulary) + (mark if rng.random() < 0.2 else "") for _ in range(rng.randint(4, 40))
            ]
        else:
            words = ["".join(rng.choices(CHARACTERS, k=rng.randint(1, 9))) for _ in range(rng.randint(4, 30))]
        case = rng.random()
        if case < 0.06:
            return [word.upper() for word in words]
        return [word.capitalize() for word in words] if case < 0.15 else words


def batches(
    glyphs: list[Glyphs], weights: list[float], corpus: Corpus, rng: random.Random, size: int, textures: float = 0.04
) -> Iterator[list[Drawn]]:
    """Batches of ``size`` pictures for ever; a share ``textures`` of them without text."""
    while True:
        picks = rng.choices(glyphs, weights, k=size)
        yield [texture(rng) if rng.random() < textures else draw(corpus.words(rng), g, rng) for g in picks]
