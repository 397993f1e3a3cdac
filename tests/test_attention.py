"""Attention for CPUs against PyTorch's fused one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from textunlearn.vlm import attention
from textunlearn.vlm.attention import GROUPED, grouped_attention, quick_attention


class Layer(nn.Module):
    """What attention functions ask of their layer."""

    is_causal = True

    def __init__(self, group: int) -> None:
        super().__init__()
        self.num_key_value_groups = group


def inputs(heads: int, shared: int, tokens: int, whole: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    sizes = [(2, heads, tokens, 8), (2, shared, whole, 8), (2, shared, whole, 8)]
    return [torch.randn(size, dtype=dtype).requires_grad_() for size in sizes]


def allowed(tokens: int, whole: int) -> torch.Tensor:
    mask = torch.ones(2, 1, tokens, whole, dtype=torch.bool).tril(whole - tokens)
    mask[1, :, :, 1] = False  # something that is not causal alone
    mask[:, :, :, 0] = True
    return mask


@pytest.mark.parametrize(("heads", "shared"), [(6, 2), (4, 4), (4, 1)])
@pytest.mark.parametrize(("tokens", "whole"), [(7, 7), (3, 9), (1, 9)])
@pytest.mark.parametrize("kind", ["boolean", "added"])
def test_gives_what_the_fused_attention_gives_and_its_gradients(
    heads: int, shared: int, tokens: int, whole: int, kind: str
) -> None:
    layer, mask = Layer(heads // shared), allowed(tokens, whole)
    given = inputs(heads, shared, tokens, whole)
    wanted, _ = sdpa_attention_forward(layer, *given, mask, scaling=0.3)
    grads = torch.autograd.grad(wanted.square().sum(), given)
    shown = mask if kind == "boolean" else torch.zeros_like(mask, dtype=torch.float64).masked_fill(~mask, -1e300)
    mine, weights = grouped_attention(layer, *given, shown, scaling=0.3)
    assert weights is None
    torch.testing.assert_close(mine, wanted)
    torch.testing.assert_close(torch.autograd.grad(mine.square().sum(), given), grads)


def test_leaves_to_the_fused_attention_what_is_long_or_has_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, given = Layer(3), inputs(6, 2, 7, 7)
    causal, _ = grouped_attention(layer, *given, None)
    torch.testing.assert_close(causal, sdpa_attention_forward(layer, *given, None)[0])
    asked: list[int] = []
    monkeypatch.setattr(
        "transformers.integrations.sdpa_attention.sdpa_attention_forward",
        lambda *args, **kwargs: asked.append(1) or (torch.zeros(0), None),
    )
    grouped_attention(layer, *given, allowed(7, 7))
    assert not asked
    monkeypatch.setattr(attention, "MOST_SCORES", 2 * 6 * 7 * 7 - 1)
    grouped_attention(layer, *given, allowed(7, 7))
    assert asked


def test_a_fully_masked_row_is_no_nan() -> None:
    mask = allowed(3, 9)
    mask[0, :, 1] = False
    out, _ = grouped_attention(Layer(3), *inputs(6, 2, 3, 9, torch.float32), mask)
    assert out.isfinite().all()


def test_a_model_uses_it_within_the_block_alone() -> None:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="sdpa",
    )
    model = LlamaModel(config).double().eval()
    ids = torch.arange(12).view(2, 6)
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[0, :2] = 0
    before = model(input_ids=ids, attention_mask=mask).last_hidden_state
    with quick_attention(model):
        assert model.config._attn_implementation == GROUPED
        inside = model(input_ids=ids, attention_mask=mask).last_hidden_state
        alone = model(input_ids=ids[1:]).last_hidden_state
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(inside[0, 2:], before[0, 2:])
    torch.testing.assert_close(inside[1], before[1])
    torch.testing.assert_close(alone[0], before[1])


def test_a_model_with_another_attention_keeps_it() -> None:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    model = LlamaModel._from_config(config, attn_implementation="eager")
    with quick_attention(model):
        assert model.config._attn_implementation == "eager"
