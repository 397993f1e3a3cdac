"""The built-in vision tower: its word pieces are the tokenizer's, its labels are what was drawn, its slots say the text."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tiny
from textunlearn.errors import UserError
from textunlearn.vlm.builtin.drawing import COLUMNS, NEWLINE, ROWS, SIZE, Corpus, Glyphs, batches, draw, texture
from textunlearn.vlm.builtin.reader import CHARACTERS, MAX_PIECE, WordPieces, occupied, tables
from textunlearn.vlm.load import Vlm

FONTS = Path(matplotlib.get_data_path()) / "fonts/ttf"
SENTENCES = [
    "How do I bake a good loaf of bread?",
    "it's broken and we'll need 10 new ones, won't you?",
    "Steps to write a note. 1. 2. 3.",
    "a1b2 c3 4d 2024-11-24",
    "(brackets) [and] {braces}; \"quotes\" 'single' `ticks`",
    "THE QUICK BROWN FOX'S DON'T I'M",
    "x ' s 'll ' 1 '2",
    "email@example.com/path?query=1&other=2#part",
    "...!!! ??? --- -> => <= >= != <br> </p>",
]


@pytest.fixture(scope="module")
def pieces() -> WordPieces:
    _, spelling, merges = tables(tiny.tokenizer_json())
    return WordPieces(spelling, merges)


def as_pieces(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """What the real tokenizer makes of ``text``: (leading space, characters) of each piece."""
    names = tokenizer.convert_ids_to_tokens(tokenizer.encode(text, add_special_tokens=False))
    return [(int(name.startswith("Ġ")), len(name.removeprefix("Ġ"))) for name in names]


@pytest.mark.parametrize("text", SENTENCES)
def test_word_pieces_are_the_tokenizers(pieces: WordPieces, text: str) -> None:
    assert pieces(text) == as_pieces(tiny.tokenizer(), text)


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(words, st.sampled_from(tiny.WORDS.split())), min_size=1, max_size=8).map(" ".join))
def test_word_pieces_of_any_text(text: str) -> None:
    if any(special in text for special in tiny.SPECIAL):
        return
    _, spelling, merges = tables(tiny.tokenizer_json())
    assert WordPieces(spelling, merges)(text) == as_pieces(tiny.tokenizer(), text)


@pytest.mark.builtin
def test_word_pieces_are_smollm2s() -> None:
    """Over this project's own requests; words with a piece longer than a slot holds are left out."""
    from transformers import AutoTokenizer

    from textunlearn.data.sources import SOURCES
    from textunlearn.vlm.builtin.build import path

    try:
        folder = path()
    except UserError as error:
        pytest.skip(f"the built-in model cannot be had here: {error}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    _, spelling, merges = tables(json.loads((folder / "tokenizer.json").read_text()))
    pieces = WordPieces(spelling, merges)
    texts = [p.text for name in ("lookalikes", "ordinary") for p in SOURCES.get(name)() if p.text.isascii()]
    texts = [*SENTENCES, *(" ".join(text.split()) for text in texts)]
    fits = [text for text in texts if max(n for _, n in as_pieces(tokenizer, text)) <= MAX_PIECE]
    assert len(fits) > 800
    wrong = [text for text in fits if pieces(text) != as_pieces(tokenizer, text)]
    assert wrong == []


def test_tables() -> None:
    data = tiny.tokenizer_json()
    ids, spelling, merges = tables(data)
    names = {number: piece for piece, number in data["model"]["vocab"].items()}
    assert not {names[i] for i in ids} & set(tiny.SPECIAL)
    assert {chr(c) for c in range(33, 127)} | {"Ġ"} <= {names[i] for i in ids}
    for number, row in zip(ids, spelling.tolist(), strict=True):
        piece = names[number]
        word = piece.removeprefix("Ġ")
        assert row[MAX_PIECE] == 2 * len(word) + piece.startswith("Ġ")
        letters = [CHARACTERS[(cell - 1) % 94] for cell in row[: len(word)]]
        assert "".join(reversed(letters)) == word and not any(row[len(word) : MAX_PIECE])
    for left, right, both in merges.tolist():
        assert names[ids[left]] + names[ids[right]] == names[ids[both]]


def cells(*votes: tuple[int, int, str, float]) -> torch.Tensor:
    """Logits of one empty page with ``(row, column, character, probability)`` votes; the rest of a cell is blank."""
    p = torch.full((1, 96, ROWS, COLUMNS), 1e-6)
    p[:, 0] = 1
    for row, column, character, share in votes:
        p[0, CHARACTERS.index(character) + 1, row, column] = share
        p[0, 0, row, column] = max(1 - share, 1e-6)
    return p.log()


def seen(logits: torch.Tensor) -> list[tuple[int, int]]:
    return [tuple(cell) for cell in occupied(logits)[0].nonzero().tolist()]


def test_occupied_merges_split_votes() -> None:
    assert seen(cells()) == []
    assert seen(cells((2, 5, "a", 0.95), (2, 8, "b", 0.9))) == [(2, 5), (2, 8)]
    assert seen(cells((2, 5, "a", 0.55), (2, 6, "a", 0.4))) == [(2, 5)], (
        "between two cells of a line: the stronger keeps it"
    )
    assert seen(cells((2, 5, "a", 0.4), (2, 6, "a", 0.55))) == [(2, 6)]
    assert len(seen(cells((2, 5, "a", 0.45), (2, 6, "a", 0.45)))) == 1, "a tie is one character"
    assert len(seen(cells((2, 5, "a", 0.45), (3, 5, "a", 0.45)))) == 1
    assert seen(cells((2, 5, "a", 0.3))) == [], "too little anywhere is nothing"
    assert seen(cells((2, 5, "a", 0.95), (2, 6, "a", 0.95))) == [(2, 5), (2, 6)], "two sure cells are two letters"
    line = [(4, column, "x", 0.97) for column in range(2, 30, 3) if column != 14]
    assert (4, 14) in seen(cells(*line, (4, 14, "x", 0.45), (3, 14, "x", 0.5))), "a letter stays in its line's row"


def pictures(*texts: str) -> torch.Tensor:
    """Pixels ``(n, 3, 160, 160)`` in [-1, 1] of text drawn in a bold mono font."""
    glyphs = Glyphs.make(FONTS / "DejaVuSansMono-Bold.ttf", 16)
    ink = [draw(text.split(), glyphs, random.Random(1)).ink for text in texts]
    grey = torch.from_numpy(np.stack(ink)).float() / 255
    return ((1 - grey) * 2 - 1).unsqueeze(1).repeat(1, 3, 1, 1)


def test_text_comes_first_then_blanks(reader: Vlm) -> None:
    tower, tokenizer = reader.base.model.vision_tower, reader.tokenizer
    text = "bake a loaf of bread"
    pixels = pictures(text, "")
    assert tower.read(pixels) == [text, ""]
    with torch.no_grad():
        hidden = tower(pixels).last_hidden_state
    table = reader.embed.weight
    wanted = tokenizer.encode(text, add_special_tokens=False)
    wanted += [reader.blank_id] * (49 - len(wanted))
    torch.testing.assert_close(hidden[0], table[torch.tensor(wanted)], rtol=0, atol=0.15)
    assert torch.equal(hidden[1], table[reader.blank_id].expand(49, -1)), "a blank page is blank slots, exactly"


def test_more_text_than_slots_is_cut(reader: Vlm) -> None:
    tower = reader.base.model.vision_tower
    with torch.no_grad():
        hidden = tower(pictures("z9 " * 60)).last_hidden_state
    assert hidden.shape == (1, 49, tiny.HIDDEN) and not torch.allclose(
        hidden[0, -1], reader.embed.weight[reader.blank_id]
    )


def test_images_are_read_alone(reader: Vlm) -> None:
    tower = reader.base.model.vision_tower
    pixels = pictures("write a note", "", "birds sing")
    with torch.no_grad():
        together = tower(pixels).last_hidden_state
        alone = torch.cat([tower(image[None]).last_hidden_state for image in pixels])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_gradient_reaches_the_pixels(reader: Vlm) -> None:
    pixels = pictures("bread").requires_grad_()
    reader.base.model.vision_tower(pixels).last_hidden_state.square().sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0 and bool(pixels.grad.isfinite().all())


def test_save_and_load_give_the_same_logits(reader: Vlm, tmp_path: Path) -> None:
    reader.base.save_pretrained(tmp_path)
    reader.processor.save_pretrained(tmp_path)
    again = tiny.loaded(tmp_path)
    ids = torch.tensor([reader.encode_with_images(reader.text_of("x", images=1), [Image.new("RGB", (50, 50))])])
    pixels = pictures("the lock on the gate")
    with torch.no_grad():
        a, b = (v.model(input_ids=ids, pixel_values=pixels).logits for v in (reader, again))
    assert torch.equal(a, b)
    assert again.hash == reader.hash and again.vision_hash() == reader.vision_hash()


def grid_words(character: np.ndarray, starts: np.ndarray) -> list[str]:
    """The label grid read row by row."""
    out: list[str] = []
    for row, column in zip(*character.nonzero(), strict=True):
        if starts[row, column]:
            out.append("")
        out[-1] += CHARACTERS[character[row, column] - 1]
    return out


@pytest.mark.parametrize("size", [13, 16, 18.5])
def test_labels_are_the_words_that_were_drawn(size: float) -> None:
    glyphs = Glyphs.make(FONTS / "DejaVuSans.ttf", size)
    corpus = Corpus([tiny.WORDS], tiny.WORDS.split())
    rng = random.Random(0)
    for _ in range(60):
        words = corpus.words(rng)
        drawn = draw(words, glyphs, rng)
        assert tuple(grid_words(drawn.character, drawn.starts)) == drawn.words and drawn.words
        plain = [w for w in words if w != NEWLINE]
        rest = iter(plain)
        assert all(word in rest for word in drawn.words), "in order, none made up"
        assert drawn.ink.shape == (SIZE, SIZE) and (drawn.ink > 128).any()
        assert drawn.starts[drawn.character == 0].sum() == 0


def test_ink_lies_at_the_labelled_cells() -> None:
    """A lone word's ink is in the row of its label (or touches the next ones), and its columns."""
    glyphs = Glyphs.make(FONTS / "DejaVuSans.ttf", 16)
    for seed in range(20):
        drawn = draw(["none"], glyphs, random.Random(seed))
        ys, xs = (drawn.ink > 128).nonzero()
        rows, columns = drawn.character.nonzero()
        assert len(set(rows)) == 1 and abs((ys.mean() / 16 - 0.5) - rows[0]) <= 0.75
        assert (
            columns.min() - 1 <= xs.min() / 4 <= columns.min() + 1
            and columns.max() - 1 <= xs.max() / 4 <= columns.max() + 2
        )


def test_textures_are_blank_and_batches_mix_them() -> None:
    rng = random.Random(0)
    picture = texture(rng)
    assert picture.words == () and not picture.character.any() and picture.ink.shape == (SIZE, SIZE)
    glyphs = [Glyphs.make(FONTS / "DejaVuSans.ttf", 15)]
    batch = next(batches(glyphs, [1.0], Corpus([tiny.WORDS], ["a", "b"]), rng, 60, textures=0.5))
    assert len(batch) == 60 and 15 < sum(d.words == () for d in batch) < 45
