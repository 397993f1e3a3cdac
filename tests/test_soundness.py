"""What is tried on a model before it is trained: whether rows may be packed, whether its logits are known, where adapters go."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

import tiny
from test_families import alone, pools
from textunlearn.errors import UserError
from textunlearn.evaluation.generation import Request, generate
from textunlearn.training.packing import LAST, answer_states, apart, lay_out, pack
from textunlearn.training.rows import Row, Target
from textunlearn.training.soundness import packing_error, packs, pattern_of, require_own_logits, trained_layers
from textunlearn.training.trainer import add_lora
from textunlearn.vlm.load import Vlm, wrap


@pytest.mark.parametrize("kind", tiny.MIXING)
def test_models_that_mix_tokens_past_a_mask_are_trained_unpacked(kind: str) -> None:
    vlm = tiny.scaled(kind)
    some = [row for rows in pools(vlm, slots=False).values() for row in rows]
    assert not packs(vlm) and packing_error(vlm) > 1e-2, "both by what it keeps and by what it does"
    laid = lay_out(vlm, some)
    assert laid.mask is None and len(laid.input_ids) == sum(len(row.targets) for row in some)
    with torch.no_grad():
        states = answer_states(vlm.decoder, vlm.embed, laid)[LAST]
        torch.testing.assert_close(vlm.logits(states), alone(vlm, some), rtol=1e-4, atol=2e-4)
    require_own_logits(vlm)
    add_lora(vlm, 2, 4)
    answer_states(vlm.decoder, vlm.embed, laid)[LAST].pow(2).sum().backward()
    trained = [(n, p) for n, p in vlm.base.named_parameters() if "lora_B" in n]
    assert trained and all(p.grad is not None and p.grad.any() for _, p in trained)


@pytest.mark.parametrize("kind", [*tiny.MIXING, "inkling2_text"])
def test_batches_of_such_models_say_what_single_rows_say(kind: str) -> None:
    vlm = tiny.scaled(kind)
    vlm.model.generation_config.eos_token_id = 2
    texts = ("how do i bake bread", "tell me", "write a short note to my neighbour about the lock", "why birds sing")
    asked = [Request(tuple(vlm.prompt_ids(text))) for text in texts]
    alone = []
    for request in asked:
        ids = torch.tensor([request.ids])
        for _ in range(6):
            with torch.no_grad():
                token = vlm.model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, token], 1)
        said = ids[0, len(request.ids) :].tolist()
        said = said[: said.index(2)] if 2 in said else said
        alone.append((vlm.tokenizer.decode(said, skip_special_tokens=True), len(said)))
    assert [(a.text, a.tokens) for a in generate(vlm, asked, 6)] == alone


@pytest.mark.parametrize("kind", ["qwen3_next", "granite"])
def test_half_precision_does_not_hide_it(kind: str) -> None:
    vlm = tiny.scaled(kind)
    vlm.model.bfloat16()
    assert packs(vlm) == (kind == "granite")


def test_apart_is_the_same_as_packed(clip: Vlm) -> None:
    """Same answers in the same order, with the rows that callers know."""
    some = [row for rows in pools(clip, slots=True).values() for row in rows]
    together, single = pack(some, clip.blank_id, 2), apart(some, clip.blank_id)
    assert single.segments == together.segments and torch.equal(single.targets, together.targets)
    assert set(single.row.unique().tolist()) == {-1, *range(len(some))}
    with torch.no_grad():
        a, b = (answer_states(clip.decoder, clip.embed, p)[LAST] for p in (together, single))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert packs(clip) and lay_out(clip, some).mask is not None


def test_rows_longer_than_a_window_are_laid_out_apart() -> None:
    from transformers import AutoModelForCausalLM, MistralConfig

    tokens = tiny.tokenizer()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MistralConfig(**tiny._text_options(len(tokens)), sliding_window=64)).eval()
    vlm = wrap(model.requires_grad_(False), tokens, "windowed")
    said = Target("benign", tuple(vlm.encode("first, take flour")))
    some = [Row("ordinary", tuple(vlm.prompt_ids(text * 9)), (said,)) for text in ("tell me ", "bake bread ")]
    assert packs(vlm) and min(len(row.prompt) for row in some) > 64
    laid = lay_out(vlm, some)
    assert laid.mask is None
    with torch.no_grad():
        states = answer_states(vlm.decoder, vlm.embed, laid)[LAST]
        torch.testing.assert_close(vlm.logits(states), alone(vlm, some), rtol=1e-4, atol=2e-4)
        packed = answer_states(vlm.decoder, vlm.embed, pack(some, vlm.blank_id, 1))[LAST]
    assert (packed - states).abs().max() > 1e-2, "the mask would have taken the window's place"


def test_logits_that_are_changed_in_an_unknown_way_are_refused() -> None:
    from transformers import LlamaForCausalLM

    class Louder(LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = super().forward(*args, **kwargs)
            out.logits = out.logits * 3
            return out

    tokens = tiny.tokenizer()
    vlm = wrap(Louder(tiny._text_config(len(tokens))).eval(), tokens, "louder")
    with pytest.raises(UserError, match="Louder"):
        require_own_logits(vlm)


def test_a_language_model_without_linear_layers_is_refused() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    tokens = tiny.tokenizer()
    config = GPT2Config(
        vocab_size=len(tokens), n_embd=16, n_layer=1, n_head=2
    )  # transposed weights of a class of their own
    vlm = wrap(GPT2LMHeadModel(config).eval(), tokens, "gpt2")
    with pytest.raises(UserError, match="no linear layers"):
        add_lora(vlm, 2, 4)


def test_experts_are_trained_and_what_chooses_them_is_not() -> None:
    names = trained_layers(tiny.scaled("qwen3_next"))
    assert any("shared_expert.up_proj" in name for name in names)
    assert not any(name.endswith((".gate", ".router")) for name in names)


def test_a_pattern_matches_what_it_was_made_of_and_nothing_else() -> None:
    names = [f"model.text.layers.{i}.self_attn.{p}_proj" for i in (0, 2, 10) for p in "qv"]
    names += ["model.text.layers.1.mlp.up", "model.text.project_in"]
    pattern = pattern_of(names)
    others = [
        "model.text.layers.1.self_attn.q_proj",
        "model.text.layers.0.mlp.up",
        "model.vision.layers.0.self_attn.q_proj",
    ]
    others += [
        "model.text.layers.2.self_attn.q_proj.lora_A",
        "xmodel.text.layers.0.self_attn.q_proj",
        "model-text.project_in",
    ]
    assert all(re.fullmatch(pattern, name) for name in names) and not any(re.fullmatch(pattern, n) for n in others)
    assert len(pattern) < len(" ".join(names))
