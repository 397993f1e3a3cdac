"""Pictures' features kept between models: the same answers, and no picture is looked at twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import tiny
from textunlearn.errors import UserError
from textunlearn.evaluation.generation import Request, generate, requests
from textunlearn.records import Case, Prompt
from textunlearn.vlm.image_features import ImageFeatures
from textunlearn.vlm.load import Vlm
from tiny_families import FROM_PIXELS, ONE_PICTURE, PICTURED, marked, opened

TOKENS = 8
SIZES = ((64, 64), (100, 60), (60, 110), (64, 64))


def asked(vlm: Vlm, folder: Path, several: bool = True) -> list[Request]:
    """Rows with one and with two pictures of different sizes, and one with none."""
    for number, size in enumerate(SIZES):
        Image.effect_noise(size, 90 + number).save(folder / f"{number}.png")
    shown = [("0.png",), ("1.png",), ("2.png",), ("3.png",), ()]
    shown += [("0.png", "2.png"), ("1.png", "0.png")] if several else []
    prompt = Prompt("x", "ordinary", "test")
    words = ("describe this", "what is it", "tell me more", "list ideas", "bake bread", "compare them", "which one")
    cases = [Case("s", "a", prompt, text, names, names) for text, names in zip(words, shown, strict=False)]
    return requests(vlm, cases, folder)


@pytest.mark.parametrize("kind", marked(["reader", *(name for name in PICTURED if name not in FROM_PIXELS)]))
def test_answers_are_those_from_pixels(kind: str, tmp_path: Path) -> None:
    vlm = opened(kind, tmp_path / kind)
    rows = asked(vlm, tmp_path, several=kind not in ONE_PICTURE)
    features = ImageFeatures(vlm, tmp_path / "features")
    assert features.works
    expected = [a.text for a in generate(vlm, rows, TOKENS)]
    assert [a.text for a in generate(vlm, rows, TOKENS, features=features)] == expected
    assert features.encoded == len(SIZES), "each picture once, however many rows show it"
    assert [a.text for a in generate(vlm, rows, TOKENS, batch_size=2, features=features)] == expected
    assert features.encoded == len(SIZES)
    assert len(set(expected)) > 2, "a model that always says the same would prove nothing"


def test_a_second_language_model_needs_no_vision_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = opened("llava", tmp_path / "model")
    rows = asked(vlm, tmp_path)
    generate(vlm, rows, TOKENS, features=ImageFeatures(vlm, tmp_path / "features"))
    with torch.no_grad():
        for p in vlm.decoder.parameters():
            p.add_(0.02 * torch.randn_like(p))
    expected = [a.text for a in generate(vlm, rows, TOKENS)]

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the vision side was asked")

    monkeypatch.setattr(vlm.base.base_model, "get_image_features", never)
    second = ImageFeatures(vlm, tmp_path / "features")
    assert [a.text for a in generate(vlm, rows, TOKENS, features=second)] == expected
    assert second.encoded == 0


def test_no_picture_is_opened_twice_where_features_are_kept(tmp_path: Path) -> None:
    """The files may be gone once `requests` has looked at them and their features are there."""
    vlm = opened("qwen2_vl", tmp_path / "model")  # its grids must go along with the features
    rows = asked(vlm, tmp_path)
    expected = generate(vlm, rows, TOKENS)
    generate(vlm, rows, TOKENS, features=ImageFeatures(vlm, tmp_path / "features"))
    for file in tmp_path.glob("*.png"):
        file.unlink()
    assert generate(vlm, rows, TOKENS, features=ImageFeatures(vlm, tmp_path / "features")) == expected
    unseen = [Request(row.ids, row.images, row.prefill) for row in rows]
    with pytest.raises(UserError, match="there is no image"):
        generate(vlm, unseen, TOKENS, features=ImageFeatures(vlm, tmp_path / "features"))


def test_requests_nobody_looked_at_are_answered_the_same(tmp_path: Path) -> None:
    vlm = opened("qwen2_vl", tmp_path / "model")
    rows = asked(vlm, tmp_path)
    unseen = [Request(row.ids, row.images, row.prefill) for row in rows]
    features = ImageFeatures(vlm, tmp_path / "features")
    assert generate(vlm, unseen, TOKENS, features=features) == generate(vlm, rows, TOKENS, features=features)


def test_another_vision_side_has_its_own(tmp_path: Path) -> None:
    vlm = opened("llava", tmp_path / "model")
    rows = asked(vlm, tmp_path)
    generate(vlm, rows, TOKENS, features=ImageFeatures(vlm, tmp_path / "features"))
    with torch.no_grad():
        for name, p in vlm.base.named_parameters():
            if "vision" in name:
                p.mul_(1.5)
    other = ImageFeatures(vlm, tmp_path / "features")
    expected = [a.text for a in generate(vlm, rows, TOKENS)]
    assert [a.text for a in generate(vlm, rows, TOKENS, features=other)] == expected
    assert other.encoded == len(SIZES)


def test_damaged_files_are_made_anew_and_old_ones_make_room(tmp_path: Path) -> None:
    vlm = opened("llava", tmp_path / "model")
    rows = asked(vlm, tmp_path, several=False)
    expected = [a.text for a in generate(vlm, rows, TOKENS)]
    folder = tmp_path / "features"
    generate(vlm, rows, TOKENS, features=ImageFeatures(vlm, folder))
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == len(SIZES)
    size = files[0].stat().st_size
    files[0].write_bytes(files[0].read_bytes()[:50])
    mended = ImageFeatures(vlm, folder)
    assert [a.text for a in generate(vlm, rows, TOKENS, features=mended)] == expected and mended.encoded == 1
    small = ImageFeatures(vlm, tmp_path / "small", limit=2 * size + size // 2)
    assert [a.text for a in generate(vlm, rows, TOKENS, features=small)] == expected
    assert len(list((tmp_path / "small").glob("*.safetensors"))) == 2
    none = ImageFeatures(vlm, tmp_path / "none", limit=0)
    assert [a.text for a in generate(vlm, rows, TOKENS, features=none)] == expected
    assert not list((tmp_path / "none").glob("*")) and none.encoded == len(SIZES)


def test_a_model_without_pictures_has_none(tmp_path: Path) -> None:
    assert not ImageFeatures(tiny.loaded(tiny.llm(tmp_path / "llm")), tmp_path).works
