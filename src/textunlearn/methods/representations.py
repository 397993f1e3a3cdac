"""Methods that work on hidden states: where harmful content is represented, the states are led astray.

RMU (Li et al. 2024, arXiv 2403.03218, section 4.1), at one layer l, u a fixed random unit vector:

    L_forget = E || M_current(t) - c u ||^2 over harmful tokens,   L_retain = E || M_current(t) - M_original(t) ||^2 over harmless tokens

Here c is a multiple of each state's norm in the original model, since a number that suits one model does not suit another
(adaptive RMU, Huu-Tien et al. 2024, arXiv 2408.06223), and both terms are divided by that norm's square.

Representation rerouting (circuit breakers: Zou et al. 2024, arXiv 2406.04313, algorithm 1), with t the share of training that is done:

    L = alpha (1 - t / 2) E relu(cos(h_original, h_current))    over harmful tokens
      + alpha t / 2 E || h_original - h_current ||              over harmless tokens

As published, neither says what the model should answer instead, and what it says then is often broken. Both take the safe
answers and the KL as further terms; with ``safe`` and ``utility`` 0 they are as published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from textunlearn.methods import METHODS, Answers
from textunlearn.methods.anchored import Anchored

if TYPE_CHECKING:
    from torch import Tensor

    from textunlearn.training.rows import Role


def _at(share: float, count: int) -> int:
    """The layer, from 1, at this share of the language model's depth."""
    return min(count, max(1, round(share * count)))


@METHODS.register("rmu")
class RMU(Anchored):
    """Representation misdirection: harmful states towards one random direction, harmless states held in place."""

    reference: ClassVar[tuple[Role, ...]] = ("harmful", "benign")
    states_only: ClassVar[tuple[Role, ...]] = ("harmful",)
    harm: float = Field(1.0, ge=0, description="w_harm: weight of both terms on hidden states")
    layer: float = Field(0.25, gt=0, le=1, description="which layer, as a share of the depth (the paper: 7 of 32)")
    steering: float = Field(3.0, gt=0, description="c: length of the target, in norms of the original state")
    retain: float = Field(10.0, ge=0, description="alpha: weight of harmless states held in place")

    def layers(self, count: int) -> tuple[int, ...]:
        return (_at(self.layer, count),)

    def harm_loss(self, answers: Answers) -> Tensor:
        import torch

        ((layer, now),) = answers.states.items()
        then = answers.reference_states[layer]
        harmful, before = now["harmful"].float(), then["harmful"].float()
        # The same direction in every step and process: drawn from a generator of its own.
        direction = torch.rand(harmful.shape[-1], generator=torch.Generator().manual_seed(0)).to(harmful.device)
        length = before.norm(dim=-1, keepdim=True)
        target = self.steering * length * direction / direction.norm()
        forget = ((harmful - target) / length).square().sum(-1)
        kept = then["benign"].float()
        moved = ((now["benign"].float() - kept) / kept.norm(dim=-1, keepdim=True)).square().sum(-1)
        return answers.mean(forget, "harmful") + self.retain * answers.mean(moved, "benign")


@METHODS.register("rerouting")
class Rerouting(Anchored):
    """Representation rerouting (circuit breakers): harmful states made orthogonal to what they were."""

    reference: ClassVar[tuple[Role, ...]] = ("harmful", "benign")
    states_only: ClassVar[tuple[Role, ...]] = ("harmful",)
    harm: float = Field(1.0, ge=0, description="w_harm: weight of both terms on hidden states")
    at: tuple[float, ...] = Field(
        (1 / 3, 2 / 3), min_length=1, description="which layers, as shares of the depth (the paper: 10 and 20 of 32)"
    )

    def layers(self, count: int) -> tuple[int, ...]:
        return tuple(sorted({_at(share, count) for share in self.at}))

    def harm_loss(self, answers: Answers) -> Tensor:
        from torch.nn.functional import cosine_similarity

        total = answers.logits["harmful"].sum() * 0
        for layer, now in answers.states.items():
            then = answers.reference_states[layer]
            similar = cosine_similarity(now["harmful"].float(), then["harmful"].float(), dim=-1).relu()
            moved = (now["benign"].float() - then["benign"].float()).square().sum(-1)
            # The square root has no slope at 0, where every harmless state begins.
            distance = (moved + 1e-8).sqrt()
            total = total + (1 - answers.progress / 2) * answers.mean(similar, "harmful")
            total = total + answers.progress / 2 * answers.mean(distance, "benign")
        return total / len(answers.states)
