"""How much memory a computation holds at its peak, found without holding any: on meta tensors, which have shapes and no numbers.

Every tensor that an operation makes is seen by a dispatch mode; its storage counts until it is let go. That is what PyTorch's allocator
would have to hold. Not seen: what a kernel needs for itself while it runs, and memory that an allocator keeps for later.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")


class LiveBytes(TorchDispatchMode):
    """``with LiveBytes() as live: …``; then ``live.peak`` is the most bytes of meta tensors that were there at once (of tensors on
    another kind of device: ``LiveBytes("cpu")``, which tests compare with).

    What is there already is told by `add`. Where a computation looks at a number, it is told 1; where it asks how many entries fulfil a
    condition, all do: so sizes are never too small.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.device = device
        self.now = 0
        self.peak = 0
        self.groups: dict[int, int] = {}
        self._seen: dict[int, weakref.ref[Any]] = {}

    def grouped(self, tensor: Tensor, groups: int) -> None:
        """Let it be known that ``tensor`` holds so many runs of equal numbers."""
        self.groups[tensor.untyped_storage()._cdata] = groups

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Count ``tensors``, each storage once, for as long as they live."""
        for tensor in tensors:
            if tensor.device.type == self.device:
                self._add(tensor.untyped_storage())

    def _add(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()

        def gone(_: object) -> None:
            self.now -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        known = _BY_NUMBERS.get(func._overloadpacket)
        if known is None or not any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_leaves((args, given))):
            out = func(*args, **given)
        else:
            out = known(self, func, args, given)
        self.add(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out


def _number(live: LiveBytes, func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    dtype = args[0].dtype
    return True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1


def _nonzero(live: LiveBytes, func: Any, args: Any, kwargs: Mapping[str, Any]) -> Tensor:
    return torch.empty(args[0].numel(), args[0].dim(), dtype=torch.long, device=META)


def _unique_consecutive(live: LiveBytes, func: Any, args: Any, kwargs: Mapping[str, Any]) -> tuple[Tensor, ...]:
    size = args[0].numel()
    groups = live.groups.get(args[0].untyped_storage()._cdata, size)
    return tuple(torch.empty(n, dtype=torch.long, device=META) for n in (groups, size, groups))


def _index(live: LiveBytes, func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """A condition as an index stands for the numbers of the entries that fulfil it, one tensor a dimension."""
    indices: list[Tensor | None] = []
    for index in args[1]:
        if index is not None and index.dtype == torch.bool:
            indices += [torch.empty(index.numel(), dtype=torch.long, device=META) for _ in range(index.dim())]
        else:
            indices.append(index)
    return func(args[0], indices, *args[2:], **kwargs)


_BY_NUMBERS: dict[Any, Callable[[LiveBytes, Any, Any, Mapping[str, Any]], Any]] = {
    torch.ops.aten._local_scalar_dense: _number,
    torch.ops.aten.is_nonzero: lambda *_: True,
    torch.ops.aten.nonzero: _nonzero,
    torch.ops.aten.unique_consecutive: _unique_consecutive,
    torch.ops.aten.index: _index,
    torch.ops.aten.index_put: _index,
    torch.ops.aten.index_put_: _index,
}
"""Operations whose result or its size depends on numbers, which meta tensors have not."""


@contextmanager
def fused_attention() -> Iterator[None]:
    """Fused attention as it is computed where there are numbers: by blocks, without the matrix of all pairs (PyTorch's memory-efficient
    kernel; Rabe & Staats 2021, arXiv 2112.05682). On meta tensors PyTorch would take the formula that has it.

    Models look the function up when they run; a mode would not be there when a layer is computed again in the backward pass.
    """
    plain = torch.nn.functional.scaled_dot_product_attention

    def chosen(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return (_by_blocks if query.is_meta else plain)(query, *args, **kwargs)

    torch.nn.functional.scaled_dot_product_attention = chosen  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = plain


def _by_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
    bias = attn_mask
    if bias is not None:
        if bias.dtype == torch.bool:
            bias = torch.zeros_like(bias, dtype=query.dtype).masked_fill(~bias, -math.inf)
        bias = bias.expand(*query.shape[:-1], key.shape[-2])
    gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    out: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, gradient, dropout_p, is_causal, scale=scale
    )[0]
    return out
