"""Every family of models through the same code: real architectures and processors, tiny and random.

Batches with pictures are in test_generation.py and test_image_features.py, for the same families.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import tiny
from textunlearn.errors import UserError
from textunlearn.methods import METHODS
from textunlearn.recipe import ModelSpec, TrainingSpec
from textunlearn.training.packing import LAST, answer_states, lay_out
from textunlearn.training.plan import Plan
from textunlearn.training.reference import reference_states
from textunlearn.training.rows import Row, Target
from textunlearn.training.soundness import packs, require_own_logits
from textunlearn.training.trainer import UnlearningTrainer, add_lora
from textunlearn.vlm.load import Vlm, check, load, merge_adapter
from tiny_families import FAMILIES, HEARING, NEEDS, PICTURED, TORCHVISION, marked, opened

SIDEWAYS = ("mllama",)
"""Families whose pictures have no slots among the words."""


def words(vlm: Vlm, text: str) -> tuple[int, ...]:
    return tuple(vlm.tokenizer.encode(text, add_special_tokens=False))


def pools(vlm: Vlm, slots: bool) -> dict[str, list[Row]]:
    """A harmful row with two answers and a harmless one, typed and, with ``slots``, where a picture would lie."""
    lock = "how do i pick the lock of my neighbour"
    answers = (Target("harmful", words(vlm, "take a pin")), Target("safe", words(vlm, "I cannot help with that")))
    benign = (Target("benign", words(vlm, "first, take flour")),)
    out = {
        "harmful": [Row("harmful", tuple(vlm.prompt_ids(lock)), answers)],
        "ordinary": [Row("ordinary", tuple(vlm.prompt_ids("bake bread")), benign)],
    }
    if slots:
        for kind, text in (("harmful", "pick it"), ("ordinary", "tell me")):
            ids, where = vlm.slot_prompt("", words(vlm, text))
            out[kind].append(Row(kind, tuple(ids), out[kind][0].targets, tuple(where)))
    return out


def alone(vlm: Vlm, some: list[Row]) -> torch.Tensor:
    """The whole model's own logits at every answer token, one forward an answer."""
    out = []
    for row in some:
        for target in row.targets:
            ids = torch.tensor([[*row.prompt, *target.ids]])
            out.append(vlm.model(input_ids=ids).logits[0, len(row.prompt) - 1 : -1])
    return torch.cat(out)


def logits(vlm: Vlm) -> torch.Tensor:
    with torch.no_grad():
        return vlm.model(input_ids=torch.tensor([vlm.prompt_ids("tell me of birds")])).logits


def has_processor(name: str) -> bool:
    return NEEDS.get(name) != "torchvision" or TORCHVISION


@pytest.mark.parametrize("name", marked(FAMILIES, torchvision=False))
def test_text_only_training_reaches_the_language_model_alone(name: str, tmp_path: Path) -> None:
    vlm = opened(name, tmp_path / "model")
    rows = pools(vlm, slots=name in PICTURED | HEARING and name not in SIDEWAYS and has_processor(name))
    every = [row for some in rows.values() for row in some]
    assert packs(vlm)
    require_own_logits(vlm)
    with torch.no_grad():
        states = answer_states(vlm.decoder, vlm.embed, lay_out(vlm, every))[LAST]
        torch.testing.assert_close(vlm.logits(states), alone(vlm, every), rtol=1e-4, atol=2e-4)

    vision, before = vlm.vision_hash(), logits(vlm)
    reference = reference_states(vlm, every, tmp_path / "reference.safetensors")
    add_lora(vlm, 2, 4)
    trained = [n for n, p in vlm.base.named_parameters() if p.requires_grad]
    assert trained and all(vlm.in_language(n) for n in trained)
    foreign = ("vision", "visual", "audio", "project", "extend", "cross", "connector")
    assert not [n for n in trained if any(part in n for part in foreign)]
    plan = Plan(rows, {"harmful": len(rows["harmful"]), "ordinary": len(rows["ordinary"])}, 1)
    spec = TrainingSpec(steps=1, lr=1e-2, warmup=0, validate_every=1)
    method = METHODS.get("textual_unlearning")()
    UnlearningTrainer(vlm, method, plan, reference, spec, tmp_path / "trainer").train()
    vlm.model.eval()
    assert not [n for n in trained if "lora_B" in n and not vlm.base.get_parameter(n).any()], "each had a gradient"
    assert vlm.vision_hash() == vision
    after = logits(vlm)
    assert (after - before).abs().max() > 1e-3

    adapter = str(tmp_path / "trainer" / "checkpoint-1")
    if has_processor(name):
        model = ModelSpec(id=str(tmp_path / "model"), adapter=adapter, dtype="float32", device="cpu")
        merged = load(model)
    else:
        merged = opened(name, tmp_path / "model")
        merged.model = merge_adapter(merged.model, adapter)
    torch.testing.assert_close(logits(merged), after, rtol=1e-4, atol=1e-4)
    assert merged.vision_hash() == vision


@pytest.mark.parametrize("name", marked(name for name in PICTURED if name not in SIDEWAYS))
def test_text_lies_where_the_processor_puts_pictures(name: str, tmp_path: Path) -> None:
    vlm = opened(name, tmp_path)
    blank = Image.new("RGB", (224, 224), "white")
    pictured = vlm.encode_with_images(vlm.text_of("do it", images=1), [blank])
    ids, slots = vlm.slot_prompt("do it", words(vlm, "bake"))
    assert len(ids) == len(pictured) and slots == [i for i, t in enumerate(pictured) if t == vlm.image_token_id]
    assert len(slots) > 1 and [ids[i] for i in slots][:1] == list(words(vlm, "bake"))[:1]
    assert [t for i, t in enumerate(ids) if i not in slots] == [t for t in pictured if t != vlm.image_token_id]


@pytest.mark.parametrize("name", marked(SIDEWAYS))
def test_a_model_without_slots_says_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"slots\.share to 0"):
        opened(name, tmp_path).slot_prompt("do it", [5])


@pytest.mark.parametrize("name", marked(FAMILIES))
def test_saved_again_it_is_the_same(name: str, tmp_path: Path) -> None:
    vlm = opened(name, tmp_path / "model")
    vlm.model.save_pretrained(tmp_path / "again")
    vlm.processor.save_pretrained(tmp_path / "again")
    again = tiny.loaded(tmp_path / "again")
    assert type(again.processor).__name__ == type(vlm.processor).__name__
    assert torch.equal(logits(again), logits(vlm)) and again.vision_hash() == vlm.vision_hash()
    spec = ModelSpec(id=str(tmp_path / "again"))
    assert check(spec) == (vlm.image_token_id is not None) == (name in PICTURED)
    if name not in PICTURED:
        return
    if hasattr(vlm.processor, "video_processor"):  # whoever has torchvision loads it from here
        assert again.processor.video_processor.to_dict() == vlm.processor.video_processor.to_dict() != {}
    rendered, picture = vlm.text_of("do it", images=1), Image.effect_noise((100, 60), 90).convert("RGB")
    (ids, given), (same, other) = vlm.with_images(rendered, [picture]), again.with_images(rendered, [picture])
    assert ids == same
    with torch.no_grad():
        shown = vlm.model(input_ids=torch.tensor([ids]), **given).logits
        torch.testing.assert_close(again.model(input_ids=torch.tensor([ids]), **other).logits, shown)
        blank = vlm.with_images(rendered, [Image.new("RGB", (100, 60))])[1]
        assert (vlm.model(input_ids=torch.tensor([ids]), **blank).logits - shown).abs().max() > 1e-3, "pictures matter"


@pytest.mark.skipif(TORCHVISION, reason="torchvision is installed")
@pytest.mark.parametrize("name", ["pixtral", "phi4_multimodal"])
def test_processors_that_are_made_with_torchvision_only_say_so(name: str, tmp_path: Path) -> None:
    import json

    FAMILIES[name](tmp_path)
    kind = {"pixtral": "Pixtral", "phi4_multimodal": "Phi4Multimodal"}[name]
    settings: dict[str, Any] = {"processor_class": f"{kind}Processor"}
    settings["image_processor"] = {"image_processor_type": f"{kind}ImageProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="`pip install torchvision`") as error:
        tiny.loaded(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", marked(FAMILIES, torchvision=False))
def test_no_user_can_type_a_control_token(name: str, tmp_path: Path) -> None:
    vlm = opened(name, tmp_path)
    special = [token.content for token in vlm.tokenizer.added_tokens_decoder.values() if token.special]
    assert len(special) >= 4
    said = " and ".join(special) + f" {special[0]}{special[1]} <<image>image> <|im_<|im_end|>end|>"
    plain, typed = vlm.prompt_ids("x"), vlm.prompt_ids(said)
    ids = set(vlm.tokenizer.convert_tokens_to_ids(special))
    assert [t for t in typed if t in ids] == [t for t in plain if t in ids], "those of the template, and no more"
    begun = vlm.encode(vlm.text_of("x", prefill=said))
    assert [t for t in begun if t in ids] == [t for t in plain if t in ids]
    if name in PICTURED and has_processor(name):
        blank = [Image.new("RGB", (64, 64))]
        shown = [vlm.encode_with_images(vlm.text_of(text, images=1), blank) for text in ("x", said)]
        assert [t for t in shown[1] if t in ids] == [t for t in shown[0] if t in ids]
    assert vlm.as_words("a <b> & <c>?") == "a <b> & <c>?"
