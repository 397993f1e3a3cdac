"""A key/value cache that takes its memory once. transformers' own copies every layer's keys and values anew for every token, which
on a CPU costs more than the token's matrices."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """As `DynamicLayer`, with room for ``room`` tokens from the start; more are taken where they come."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self._held: list[Tensor | None] = [None, None]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens so far, each ``(rows, heads, tokens, head size)``, the new ones last."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None  # both are there, if empty, since the line above
        self.keys = self._appended(0, self.keys, key_states)
        self.values = self._appended(1, self.values, value_states)
        return self.keys, self.values

    def _appended(self, which: int, before: Tensor, new: Tensor) -> Tensor:
        length = before.shape[-2] if before.numel() else 0
        whole = length + new.shape[-2]
        held = self._held[which]
        # Whoever repeats, chooses or reorders rows puts other tensors in the place of ours.
        if held is None or held.data_ptr() != before.data_ptr() or held.shape[-2] < whole:
            held = new.new_empty((*new.shape[:-2], max(whole, self.room), new.shape[-1]))
            if length:
                held[..., :length, :] = before
            self._held[which] = held
        held[..., length:whole, :] = new
        return held[..., :whole, :]


def roomy_cache(config: Any, room: int) -> DynamicCache:
    """An empty cache for a model of that ``config``; layers that keep only a window stay transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def only_attends(config: Any) -> bool:
    """Whether a model of that ``config`` carries something from one token to the next by attention alone, by what transformers would keep
    for it: keys and values can be masked, and repeated for many rows; states of linear attention, state spaces and convolutions not."""
    layers = DynamicCache(config=config).layers
    return all(isinstance(layer, DynamicLayer) and not hasattr(layer, "update_conv_state") for layer in layers)
