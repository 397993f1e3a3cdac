"""Count the floating-point operations of a block, by PyTorch's own formulas.

`torch.utils.flop_counter.FlopCounterMode` also follows modules, which fails where a gradient is taken inside a forward, and knows
no attention on the CPU. This is its registry of formulas with those two added, and no module tracking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

_CPU_ATTENTION: dict[Any, Callable[..., int]] = {}


def _attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return int(sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape))


for _name, _formula in (
    ("_scaled_dot_product_flash_attention_for_cpu", _attention),
    ("_scaled_dot_product_flash_attention_for_cpu_backward", _attention_backward),
):
    if hasattr(torch.ops.aten, _name):
        _CPU_ATTENTION[getattr(torch.ops.aten, _name)] = _formula


class FlopCounter(TorchDispatchMode):
    """``with FlopCounter() as counter: …``; then ``counter.total`` is what the block took, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        formula = flop_registry.get(packet)
        if packet not in _CPU_ATTENTION and formula is None:
            with self:  # where no gradient is taken, whole layers arrive here, made up of operations that are counted
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        if packet in _CPU_ATTENTION:
            self.total += _CPU_ATTENTION[packet](*args, **kwargs)
        elif formula is not None:
            self.total += int(formula(*args, **kwargs, out_val=out))
        return out
