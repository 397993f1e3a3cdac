"""Rows with real pictures: drawn from their key, features computed once, the same as the whole model sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from textunlearn.errors import UserError
from textunlearn.evaluation.suites import write_image
from textunlearn.methods import METHODS
from textunlearn.pictures import open_picture
from textunlearn.recipe import DataSpec, PictureSpec, SlotSpec
from textunlearn.records import Prompt
from textunlearn.training.build_rows import probes, training_rows
from textunlearn.training.packing import LAST, answer_states, pack
from textunlearn.training.pictures import draw, drawable, picture_features, picture_of, picture_request
from textunlearn.training.rows import Row, Target
from textunlearn.vlm.load import Vlm
from tiny_families import opened

TEXTS = ("bake bread", "write a note to my neighbour", "tell me of birds")


@pytest.fixture(scope="module")
def vlm(clip_folder: Path) -> Vlm:
    return tiny.loaded(clip_folder)


def picture_rows(vlm: Vlm) -> list[Row]:
    said = tuple(vlm.tokenizer.encode("first, take some flour", add_special_tokens=False))
    rows = []
    for text in TEXTS:
        key = picture_of(text, "plain")
        ids, where = picture_request(vlm, key, "What does it say?")
        rows.append(Row("ordinary", tuple(ids), (Target("benign", said),), tuple(where), key))
    return rows


def test_packed_features_give_what_the_whole_model_sees(vlm: Vlm, tmp_path: Path) -> None:
    rows = picture_rows(vlm)
    features = picture_features(vlm, [row.picture for row in rows], tmp_path / "f.safetensors")
    for sequences in (1, 2):
        packed = pack(rows, vlm.blank_id, sequences, features)
        with torch.no_grad():
            packed_logits = vlm.logits(answer_states(vlm.decoder, vlm.embed, packed)[LAST])
        for segment in packed.segments:
            row = rows[segment.row]
            inputs = vlm.processor(images=[draw(row.picture)], text=["<image>"], return_tensors="pt")
            ids = torch.tensor([[*row.prompt, *row.targets[0].ids[:-1]]])
            with torch.no_grad():
                whole = vlm.model(input_ids=ids, pixel_values=inputs["pixel_values"]).logits[0, len(row.prompt) - 1 :]
            torch.testing.assert_close(packed_logits[segment.start : segment.stop], whole, rtol=1e-3, atol=1e-3)


def test_features_are_computed_once(vlm: Vlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [picture_of(text, "figstep") for text in TEXTS]
    path, said = tmp_path / "f.safetensors", list[int]()
    first = picture_features(vlm, [*keys, keys[0]], path, said.append)
    assert set(first) == set(keys) and sum(said) == len(keys)

    def never(*args: Any) -> None:
        raise AssertionError("the vision side ran again")

    monkeypatch.setattr("textunlearn.training.pictures._given_to_decoder", never)
    again = picture_features(vlm, keys, path)
    assert all(torch.equal(first[key], again[key]) for key in keys)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl", "mllama"])
def test_a_model_that_hands_over_more_than_embeddings_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pictures\.share to 0"):
        picture_features(opened(name, tmp_path / name), [picture_of("bake bread", "plain")], tmp_path / "f.safetensors")


def test_shares_of_slots_and_pictures(vlm: Vlm) -> None:
    prompts = {"ordinary": [Prompt(f"bake {n} loaves", "ordinary", "test") for n in range(40)]}
    answers = {p.id: "first, take some flour" for p in prompts["ordinary"]}
    method = METHODS.get("distillation")()
    rows = training_rows(vlm, prompts, answers, method, SlotSpec(share=0.25), DataSpec(), 0, PictureSpec(share=0.5))[
        "ordinary"
    ]
    drawn = [row for row in rows if row.picture]
    assert len(drawn) == 20 and sum(bool(row.slots) for row in rows) == 30
    assert all(row.prompt[i] == vlm.image_token_id for row in drawn for i in row.slots)
    alone = training_rows(vlm, prompts, answers, method, SlotSpec(share=0), DataSpec(), 0, PictureSpec(share=1))
    assert all(row.picture for row in alone["ordinary"])


def test_what_cannot_be_read_is_typed(vlm: Vlm) -> None:
    long = Prompt("bake bread " * 20, "ordinary", "test")
    assert not drawable(long.text) and not drawable("שלום") and drawable("bake bread")
    rows = training_rows(
        vlm, {"ordinary": [long]}, {long.id: "no"}, METHODS.get("distillation")(), SlotSpec(share=0), DataSpec(), 0,
        PictureSpec(share=1),
    )  # fmt: skip
    assert not rows["ordinary"][0].picture


def test_probes_show_the_picture_itself(vlm: Vlm, tmp_path: Path) -> None:
    prompts = {"ordinary": [Prompt("bake bread", "ordinary", "test")]}
    found = probes(vlm, prompts, SlotSpec(share=0), 0, PictureSpec(share=0.5), tmp_path)
    assert [probe.way for probe in found] == ["typed", "picture"]
    (picture,) = found[1].request.images
    assert picture is not None
    shown = {write_image(draw(picture_of("bake bread", layout)), tmp_path)[0] for layout in ("figstep", "plain")}
    assert str(picture.relative_to(tmp_path)) in shown and open_picture(picture).size == (760, 760)
