"""The cost formulas give what PyTorch's flop counter counts, on tiny models and, without weights, at full size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from textunlearn.comparison.geometry import (
    ASSUMED,
    CLIP,
    GEOMETRIES,
    VICUNA,
    Decoder,
    RowLengths,
    Vision,
    cost_table,
    training_flops,
    vision_flops,
)
from tiny import clip_vlm

TINY = Decoder(hidden=32, layers=3, heads=4, kv_heads=2, intermediate=48, vocabulary=101)


def counted(run: Callable[[], Any]) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return int(counter.get_total_flops())


def llama(decoder: Decoder) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=decoder.hidden,
        num_hidden_layers=decoder.layers,
        num_attention_heads=decoder.heads,
        num_key_value_heads=decoder.kv_heads,
        intermediate_size=decoder.intermediate,
        vocab_size=decoder.vocabulary,
        attn_implementation="eager",  # the counter knows no other attention on a CPU
    )
    return LlamaForCausalLM(config)


def freeze(model: Any, training: str, rank: int, skip: int, layers: int) -> Any:
    model.requires_grad_(False)
    if training == "full":
        for number, layer in enumerate(model.model.layers):
            layer.requires_grad_(number >= skip)
        return model
    from peft import LoraConfig, get_peft_model

    chosen = "|".join(map(str, range(skip, layers)))
    return get_peft_model(model, LoraConfig(r=rank, target_modules=rf".*layers\.({chosen})\..*_proj"))


def step(model: Any, length: int, answers: int) -> None:
    base = getattr(model, "base_model", None)
    causal = base.model if hasattr(base, "peft_config") else model
    where = causal.lm_head.weight.device
    states = causal.model(
        inputs_embeds=torch.zeros(1, length, causal.config.hidden_size, device=where),
        attention_mask=torch.zeros(1, 1, length, length, device=where),  # given, since one is not made without values
        position_ids=torch.zeros(1, length, dtype=torch.long, device=where),
        use_cache=False,
    ).last_hidden_state
    causal.lm_head(states[:, -answers:]).sum().backward()


@pytest.mark.parametrize("training", ["lora", "full"])
@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize(("length", "answers"), [(7, 3), (20, 1)])
def test_a_row_costs_what_the_flop_counter_counts(training: Any, skip: int, length: int, answers: int) -> None:
    model = freeze(llama(TINY), training, 5, skip, TINY.layers)
    expected = training_flops(TINY, length, answers, training, 5, skip)
    assert counted(lambda: step(model, length, answers)) == expected


def test_lora_approaches_four_and_full_training_six_flops_a_weight() -> None:
    weights = VICUNA.layers * sum(a * b for a, b, _ in VICUNA.linear())
    assert 6.4e9 < weights < 6.6e9  # Vicuna-7B without embeddings and head
    for training, factor in (("lora", 4), ("full", 6)):
        assert training_flops(VICUNA, 1, 0, training) / weights == pytest.approx(factor, rel=0.02)  # type: ignore[arg-type]


def test_full_size_without_weights() -> None:
    """Vicuna-7B on the meta device: shapes only, so nothing is computed and all is counted."""
    with torch.device("meta"):
        model = llama(replace(VICUNA, layers=2))
        model.requires_grad_(False)
        for layer in model.model.layers:
            layer.requires_grad_(True)
        got = counted(lambda: step(model, 660, 24))
    assert got == training_flops(replace(VICUNA, layers=2), 660, 24, "full")


def test_clip_and_projector() -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    small = Vision(hidden=16, layers=2, intermediate=24, patch=8, grid=4, projector=(16, 32, 32), extra=1)
    for vision in (small, replace(CLIP, layers=2)):
        config = CLIPVisionConfig(
            hidden_size=vision.hidden,
            intermediate_size=vision.intermediate,
            num_hidden_layers=vision.layers,
            num_attention_heads=2,
            image_size=vision.grid * vision.patch,
            patch_size=vision.patch,
            attn_implementation="eager",
        )
        widths = list(zip(vision.projector, vision.projector[1:], strict=False))
        with torch.device("meta"):
            tower = CLIPVisionModel(config)
            projector = torch.nn.Sequential(*(torch.nn.Linear(*pair) for pair in widths))
            pixels = torch.zeros(1, 3, config.image_size, config.image_size)

        def encode(tower: Any = tower, projector: Any = projector, pixels: Any = pixels) -> None:
            with torch.no_grad():
                projector(tower(pixels).last_hidden_state[:, 1:])

        assert counted(encode) == vision_flops(vision)


def test_a_tiny_llava_end_to_end(tmp_path: Any) -> None:
    """Picture encoded once, its features in the language model: tower, projector and row add up."""
    from transformers import AutoConfig, LlavaForConditionalGeneration

    config = AutoConfig.from_pretrained(clip_vlm(tmp_path))
    text = config.text_config
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="eager")
    decoder = Decoder(
        text.hidden_size, text.num_hidden_layers, text.num_attention_heads, text.num_key_value_heads,
        text.intermediate_size, text.vocab_size,
    )  # fmt: skip
    vision = Vision(hidden=16, layers=2, intermediate=16, patch=8, grid=4, projector=(16, 32, 32), extra=1)
    model.requires_grad_(False)
    model.model.language_model.layers.requires_grad_(True)
    length, answers = 17 + 9, 4

    def run() -> None:
        with torch.no_grad():
            features = model.model.get_image_features(pixel_values=torch.zeros(1, 3, 32, 32)).pooler_output[0]
        typed = model.get_input_embeddings()(torch.zeros(1, 9, dtype=torch.long))
        states = model.model.language_model(inputs_embeds=torch.cat([features[None], typed], 1), use_cache=False)[0]
        model.lm_head(states[:, -answers:]).sum().backward()

    # This tower keeps its class token, so the projector reads one token more than there are patches.
    class_token = 2 * (16 * 32 + 32 * 32)
    expected = vision_flops(vision) + class_token + training_flops(decoder, length, answers, "full")
    assert counted(run) == expected


def test_qwen_vision_tower_with_windows() -> None:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    vision = Vision(
        hidden=16, layers=3, intermediate=20, patch=14, grid=10, projector=(64, 64, 32), frames=2, gated=True, window=4,
        full=1, merge=2,
    )  # fmt: skip
    config = Qwen2_5_VLVisionConfig(
        depth=3, hidden_size=16, intermediate_size=20, num_heads=2, patch_size=14, spatial_merge_size=2,
        temporal_patch_size=2, window_size=56, fullatt_block_indexes=[2], out_hidden_size=32,
    )  # fmt: skip
    config._attn_implementation = "eager"
    tower = Qwen2_5_VisionTransformerPretrainedModel(config).requires_grad_(False)
    pixels = torch.zeros(100, 3 * 2 * 14 * 14)
    assert counted(lambda: tower(pixels, grid_thw=torch.tensor([[1, 10, 10]]))) == vision_flops(vision)


def test_image_tokens_of_the_geometries() -> None:
    assert [one.vision.image_tokens for one in GEOMETRIES] == [576, 2880, 729]


def test_the_table_orders_what_must_be_ordered() -> None:
    for cost in cost_table():
        assert cost.typed < cost.words * 2 and cost.words < cost.slots == cost.picture
        assert 1 < cost.ratio < cost.ratio_encoding
    short, long = cost_table(RowLengths(40, 30, 10, 20)), cost_table(RowLengths(400, 30, 10, 20))
    assert all(a.ratio > b.ratio for a, b in zip(short, long, strict=True))
    assert not ASSUMED.measured
