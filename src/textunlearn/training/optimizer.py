"""AdamW that keeps float32 masters of low-precision weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textunlearn.processes import total
from textunlearn.training.sharding import like, whole


@dataclass
class LossScale:
    """Keeps float16 gradients from vanishing: the loss is multiplied by ``factor`` and the gradients, in float32, divided by it.

    A step whose gradients overflowed is left out and the factor halved; after `GROWS` good ones it is doubled, as in mixed precision
    training (Micikevicius et al. 2017, arXiv 1710.03740). Powers of two, so that nothing else is rounded otherwise.
    """

    active: bool = False
    factor: float = 1.0
    good: int = 0

    GROWS = 200
    FIRST, MOST = 2.0**12, 2.0**24

    @classmethod
    def of(cls, dtype: torch.dtype) -> LossScale:
        """For weights of ``dtype``; nothing is scaled but in float16."""
        return cls(True, cls.FIRST) if dtype == torch.float16 else cls()

    def clip(self, grads: list[Tensor], most: float) -> Tensor:
        """Shorten the gradients together to a length of ``most`` if they are longer; returns how long they were, without the factor.

        In float32: PyTorch's own clipping takes the length in float16, which holds nothing above 65,504.
        """
        length = torch.stack([whole(torch.linalg.vector_norm(grad.float())) for grad in grads]).norm() / self.factor
        if torch.isfinite(length) and length > most:
            for grad in grads:
                grad.mul_((most / length).item())
        return length

    def usable(self, grads: list[Tensor]) -> bool:
        """Whether the gradients of a step are finite on all processes; the factor follows."""
        if not self.active:
            return True
        bad = not all(
            bool(torch.isfinite(grad.to_local() if hasattr(grad, "to_local") else grad).all()) for grad in grads
        )
        if total({"bad": float(bad)})["bad"]:
            self.factor, self.good = max(1.0, self.factor / 2), 0
            return False
        self.good += 1
        if self.good % self.GROWS == 0:
            self.factor = min(self.MOST, 2 * self.factor)
        return True


class MasterAdamW(torch.optim.Optimizer):
    """AdamW without weight decay (Loshchilov & Hutter 2019) whose state, master weights included, is float32.

    Adapters in the model's own bfloat16 make a CPU step three times faster than float32 ones (no casts of activations), but
    bfloat16 rounds small updates away; the master keeps them.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        scale: LossScale | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.scale = scale or LossScale()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        factor = self.scale.factor  # of the loss that these gradients are of
        if not self.scale.usable(
            [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        ):
            return loss
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
                if factor != 1:
                    grad = grad / factor
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
