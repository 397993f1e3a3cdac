"""AdamW that keeps float32 masters of low-precision weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from textunlearn.training.sharding import like


class MasterAdamW(torch.optim.Optimizer):
    """AdamW without weight decay (Loshchilov & Hutter 2019) whose state, master weights included, is float32.

    Adapters in the model's own bfloat16 make a CPU step three times faster than float32 ones (no casts of activations), but
    bfloat16 rounds small updates away; the master keeps them.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"] = torch.zeros(())
                    state["master"] = p.detach().float().clone()
                    state["exp_avg"] = torch.zeros_like(state["master"])
                    state["exp_avg_sq"] = torch.zeros_like(state["master"])
                grad = p.grad.float()
                state["step"] += 1
                t = state["step"].item()
                state["exp_avg"].lerp_(grad, 1 - beta1)
                state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
                denominator = (state["exp_avg_sq"] / (1 - beta2**t)).sqrt_().add_(group["eps"])
                state["master"].addcdiv_(state["exp_avg"], denominator, value=-group["lr"] / (1 - beta1**t))
                p.copy_(state["master"])
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As the base class, but without casting the state to the parameters' precision, and split where they are split."""
        super().load_state_dict(state_dict)
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for number, p in zip(numbers, params, strict=True):
            if number in state_dict["state"]:
                self.state[p] = {
                    k: like(v.detach().clone(), p) if v.dim() else v.clone()
                    for k, v in state_dict["state"][number].items()
                }
