"""Attention for CPUs, in the place of PyTorch's fused kernel where that is the slower one.

On the lengths of requests and packed rows (tens to hundreds of tokens) the fused kernel takes 1.5 to 2 times as long as two plain batched
products (`benchmarks/speed/attention.py`), and grouped-query models pay besides for keys and values that are repeated for every head.
Here the queries that share keys are one matrix. The scores are held in memory, so long inputs go to the fused kernel as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

GROUPED = "textunlearn_grouped"
"""The name by which transformers' models find it."""
MOST_SCORES = 2**26
"""Scores in one layer; with more, the fused kernel, which never holds them, takes over."""


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """As transformers' ``sdpa_attention_forward``, for all that a mask (added or boolean) says; anything else is left to that.

    Args:
        query: ``(rows, heads, tokens, head size)``; ``key``, ``value``: ``(rows, heads that share, all tokens, head size)``.
        attention_mask: ``(rows or 1, 1, tokens, all tokens)``.

    Returns:
        ``(rows, tokens, heads, head size)`` and None.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rows, heads, tokens, size = query.shape
    shared = key.shape[1]
    unusual = dropout or any(kwargs.get(name) is not None for name in ("softcap", "position_bias", "s_aux"))
    whole = rows * heads * tokens * key.shape[2]
    if attention_mask is None or attention_mask.shape[1] != 1 or unusual or whole > MOST_SCORES:
        out: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return out
    if attention_mask.dtype == torch.bool:
        attention_mask = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill_(
            ~attention_mask, torch.finfo(query.dtype).min
        )
    group = heads // shared
    scores = torch.matmul(query.reshape(rows, shared, group * tokens, size), key.transpose(2, 3))
    scale = size**-0.5 if scaling is None else scaling
    # One pass over the scores for both. What the mask is longer than the keys by is a static cache's room.
    scores = torch.add(
        attention_mask[:, :, None, :, : key.shape[2]],
        scores.view(rows, shared, group, tokens, key.shape[2]),
        alpha=scale,
    )
    weights = scores.softmax(-1).view(rows, shared, group * tokens, key.shape[2])
    mixed = torch.matmul(weights, value).view(rows, heads, tokens, value.shape[-1])
    return mixed.transpose(1, 2).contiguous(), None


@cache
def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(GROUPED, grouped_attention)
    AttentionMaskInterface.register(GROUPED, eager_mask)


@contextmanager
def quick_attention(decoder: torch.nn.Module, device: str = "") -> Iterator[None]:
    """Within it, a language model on a CPU that would use PyTorch's fused attention uses `grouped_attention`.

    Args:
        device: type of the device it is to be taken for; "" for the one it is on.
    """
    config: Any = decoder.config
    kind = getattr(config, "_attn_implementation", None)
    if kind != "sdpa" or (device or next(decoder.parameters()).device.type) != "cpu":
        yield
        return
    _register()
    config._attn_implementation = GROUPED
    try:
        yield
    finally:
        config._attn_implementation = kind
