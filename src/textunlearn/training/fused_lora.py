"""LoRA's linear layers with fewer passes over their outputs.

peft adds an adapter in five operations, forward and again backward, each of which reads and writes activations as large as the layer's
output; with a rank of four that costs more than the adapter's own products. Here the adapter is added by the product itself, in one pass
forward and one backward.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class _LoraLinear(torch.autograd.Function):
    """``x W' + s (x A') B'`` (Hu et al. 2022, arXiv 2106.09685, eq. 3), gradients for x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        inner = torch.mm(rows, a.t()).mul_(scale)
        out = torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
        torch.addmm(out, inner, b.t(), out=out)
        ctx.save_for_backward(rows, weight, a, b, inner)
        ctx.scale = scale
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, a, b, inner = ctx.saved_tensors
        grad = grads[0].reshape(-1, weight.shape[0])
        into_inner = torch.mm(grad, b).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = torch.mm(grad, weight)
            torch.addmm(to_x, into_inner, a, out=to_x)
            to_x = to_x.view(*grads[0].shape[:-1], weight.shape[1])
        # The short side first: twice as fast as its transpose on CPUs.
        return to_x, None, None, torch.mm(into_inner.t(), rows), torch.mm(inner.t(), grad).t(), None


def fuse_lora(model: nn.Module) -> int:
    """Let plain LoRA layers of a peft model compute this way; returns how many.

    Whatever is not plain when a layer is called (adapter switched off or merged, several at once, DoRA, dropout, autocast, other
    precisions, quantised weights) is computed by peft as before.
    """
    from peft.tuners.lora.layer import Linear

    layers = [module for module in model.modules() if type(module) is Linear]
    for layer in layers:
        layer.forward = partial(_forward, layer, layer.forward)  # type: ignore[method-assign]
    return len(layers)


def _forward(layer: Any, otherwise: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    name = layer.active_adapters[0] if len(layer.active_adapters) == 1 else None
    base = layer.base_layer
    if (
        name not in layer.lora_A
        or args
        or kwargs
        or layer.disable_adapters
        or layer.merged
        or type(base) is not nn.Linear
        or base.weight.requires_grad
        or getattr(layer, "fan_in_fan_out", False)
        or name in getattr(layer, "lora_variant", {})
        or layer.lora_B[name].bias is not None
        or not isinstance(layer.lora_dropout[name], nn.Identity)
        or not x.dtype == base.weight.dtype == layer.lora_A[name].weight.dtype == layer.lora_B[name].weight.dtype
        or torch.is_autocast_enabled(x.device.type)
    ):
        result: Tensor = otherwise(x, *args, **kwargs)
        return result
    out: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
        x, base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    )
    return out
