"""Likelihoods of continuations: in batches as one at a time, and as a plain forward of the whole row says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import tiny
from textunlearn.evaluation import generation
from textunlearn.evaluation.generation import TOKEN_TYPES, Request, requests
from textunlearn.evaluation.likelihood import Choices, choices, likelihoods
from textunlearn.pictures import open_picture
from textunlearn.records import Case, Prompt
from textunlearn.vlm.image_features import ImageFeatures
from textunlearn.vlm.load import Vlm
from tiny_families import opened

CHOICES = (
    ("A", "B", "C", "D"),
    ("take some flour", "a lock", "why birds sing in spring", "no"),
    ("10 days", "we'll need a"),
)


def asked(vlm: Vlm, folder: Path) -> list[Choices]:
    """Questions of several lengths, some with a picture, each with letters, with words of several lengths, and with two choices."""
    out, prompt = [], Prompt("x", "ordinary", "test")
    for number, text in enumerate(("what is it", "please tell me what the weather is like in spring", "why")):
        Image.effect_noise((64 + 30 * number, 64), 90).save(folder / f"{number}.png")
        for images in ((), (f"{number}.png",)):
            case = Case("s", "a", prompt, text, images, images)
            (request,) = requests(vlm, [case], folder)
            rendered = vlm.text_of(text, images=len(images))
            out += [choices(vlm, request, rendered, some) for some in CHOICES]
    return out


def plain(vlm: Vlm, request: Request, tokens: tuple[int, ...]) -> float:
    """One whole forward: no cache, no padding, no other rows."""
    ids = torch.tensor([[*request.ids, *tokens]])
    extra: dict[str, Any] = {}
    if request.images:
        given = vlm.processor(
            images=[[open_picture(image) for image in request.images]],
            text=[vlm.text_of("", images=len(request.images))],
            return_tensors="pt",
        )
        extra = {k: v for k, v in given.items() if k not in {"input_ids", "attention_mask", *TOKEN_TYPES}}
        extra |= {k: (ids == vlm.image_token_id).long() for k in TOKEN_TYPES if k in given}
    generation._forget_positions(vlm)
    with torch.no_grad():
        logs = vlm.model(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits[0].log_softmax(-1)
    return sum(float(logs[len(request.ids) - 1 + i, token]) for i, token in enumerate(tokens))


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl", "gemma3"])
def test_batches_say_what_single_rows_say(kind: str, tmp_path: Path) -> None:
    vlm = opened(kind, tmp_path / kind)
    rows = asked(vlm, tmp_path)
    expected = [[plain(vlm, one.request, tokens) for tokens in one.continuations] for one in rows]
    assert len({round(value, 3) for values in expected for value in values}) > 30, "all alike would prove nothing"
    features = ImageFeatures(vlm, tmp_path / "features")
    for batch, kept in ((1, None), (64, None), (5, features)):
        got = likelihoods(vlm, rows, batch_size=batch, features=kept)
        for one, values in zip(got, expected, strict=True):
            assert one == pytest.approx(values, abs=2e-4)
    assert features.encoded == 3, "each picture once, however many rows show it"


def test_a_language_model_alone_and_rows_that_differ_in_their_last_token_only(llm_folder: Path, tmp_path: Path) -> None:
    """Nearly all of such rows is shared, and what is looked at must not be."""
    vlm = tiny.loaded(llm_folder)
    ids = tuple(vlm.prompt_ids("tell me about the garden gate"))
    long = tuple(vlm.tokenizer.encode("first, take some flour; then add water"))
    rows = [Choices(Request(ids), ((*long, 7), (*long, 8), long)), Choices(Request(ids), ((5,), (6, 7)))]
    expected = [[plain(vlm, one.request, tokens) for tokens in one.continuations] for one in rows]
    for got, values in zip(likelihoods(vlm, rows), expected, strict=True):
        assert got == pytest.approx(values, abs=2e-4)


def test_what_is_complete_is_handed_over_after_each_batch(llm_folder: Path) -> None:
    vlm = tiny.loaded(llm_folder)
    rows = [Choices(Request(tuple(vlm.prompt_ids("why " * n))), ((5, 6), (7, 8), (9, 10))) for n in (4, 1, 3, 2)]
    seen: list[list[int]] = []
    values: dict[int, tuple[float, ...]] = {}

    def done(indices: list[int], found: list[tuple[float, ...]]) -> None:
        seen.append(indices)
        values.update(zip(indices, found, strict=True))

    got = likelihoods(vlm, rows, done, batch_size=4)
    assert [i for some in seen for i in some] == [1, 3, 2, 0], "the shortest first, each once"
    assert len(seen) == 3 and [values[i] for i in range(4)] == got


def test_a_token_over_the_seam_is_scored_whole(llm_folder: Path) -> None:
    """Where the end of the request and the beginning of a continuation are one token, the request ends before it."""
    vlm = tiny.loaded(llm_folder)
    rendered = vlm.text_of("what is it") + "tell t"
    request = Request(tuple(vlm.encode(rendered)))
    one = choices(vlm, request, rendered, ("he note", "o"))
    whole = vlm.encode(rendered + "he note")
    assert [*one.request.ids, *one.continuations[0]] == whole
    assert vlm.tokenizer.decode([*one.request.ids, *one.continuations[1]]).endswith("tell to")
    assert len(one.request.ids) < len(request.ids), "the tokenizer joins over this seam, or nothing is tested"
