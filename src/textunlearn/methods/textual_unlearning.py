"""Textual unlearning (arXiv 2406.02575; loss as restated in VLSBench, arXiv 2411.19939, App. E.1):

    L = - w_harm CE(y_harm | x_harm)  +  w_safe CE(y_safe | x_harm)  +  w_utility KL(p_original(. | x) || p_current(. | x))

with (0.5, 1, 1), on answer tokens only. As published the ascent is unbounded and can wreck the model; the default here is
bounded, and weights the first answer tokens, where refusing is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from textunlearn.methods import METHODS, Answers
from textunlearn.methods.anchored import Anchored

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.register("textual_unlearning")
class TextualUnlearning(Anchored):
    """Bounded textual unlearning: a harmful token whose NLL has passed the ceiling is no longer pushed."""

    harm: float = Field(0.4, ge=0, description="w_harm: how hard harmful answers are pushed away")
    ceiling: float | None = Field(
        6.0, gt=0, description="NLL (nats a token) past which ascent stops; null = unbounded, as published"
    )

    def harm_loss(self, answers: Answers) -> Tensor:
        harm = answers.nll("harmful")
        return -answers.mean(harm if self.ceiling is None else harm.clamp(max=self.ceiling), "harmful")


@METHODS.register("textual_unlearning_published")
class TextualUnlearningAsPublished(TextualUnlearning):
    """The same with unbounded ascent and equal weights for all tokens: the paper's loss. It can collapse; the guards will say so."""

    harm: float = 0.5
    safe: float = 1.0
    utility: float = 1.0
    ceiling: float | None = None
    first_safe: tuple[float, ...] = ()
    first_kl: tuple[float, ...] = ()
