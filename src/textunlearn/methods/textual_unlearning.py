"""Textual unlearning (arXiv 2406.02575; loss as restated in VLSBench, arXiv 2411.19939, App. E.1):

    L = - w_harm CE(y_harm | x_harm)  +  w_safe CE(y_safe | x_harm)  +  w_utility KL(p_original(. | x) || p_current(. | x))

with (0.5, 1, 1), on answer tokens only. As published the ascent is unbounded and can wreck the model; the default here is
bounded, and weights the first answer tokens, where refusing is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from textunlearn.methods import METHODS, Answers, Method, weights_at

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.register("textual_unlearning")
class TextualUnlearning(Method):
    """Bounded textual unlearning: a harmful token whose NLL has passed the ceiling is no longer pushed."""

    harm: float = Field(0.8, ge=0, description="w_harm: how hard harmful answers are pushed away")
    safe: float = Field(1.0, ge=0, description="w_safe: how hard safe answers are learned")
    utility: float = Field(5.0, ge=0, description="w_utility: how hard the original model is kept on harmless requests")
    ceiling: float | None = Field(
        6.0, gt=0, description="NLL (nats a token) past which ascent stops; null = unbounded, as published"
    )
    first_safe: tuple[float, ...] = Field(
        (20.0, 10.0, 5.0, 3.0, 3.0, 3.0), description="weights of the safe answer's first tokens"
    )
    first_kl: tuple[float, ...] = Field(
        (8.0, 4.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0),
        description="weights of the KL at the first tokens; a refusal may also begin a few words in",
    )

    def loss(self, answers: Answers) -> Tensor:
        harm, safe, kl = answers.nll("harmful"), answers.nll("safe"), answers.kl()
        pushed = harm if self.ceiling is None else harm.clamp(max=self.ceiling)
        safe_weights = weights_at(answers.position["safe"], self.first_safe)
        kl_weights = weights_at(answers.position["benign"], self.first_kl)
        answers.log.update(
            harm_nll=answers.mean(harm, "harmful").item(),
            safe_nll=answers.mean(safe, "safe").item(),
            kl=answers.mean(kl, "benign").item(),
            first_token_kl=answers.first_mean(kl, "benign").item(),
        )
        return (
            -self.harm * answers.mean(pushed, "harmful")
            + self.safe * answers.mean(safe * safe_weights, "safe")
            + self.utility * answers.mean(kl * kl_weights, "benign")
        )


@METHODS.register("textual_unlearning_published")
class TextualUnlearningAsPublished(TextualUnlearning):
    """The same with unbounded ascent and equal weights for all tokens: the paper's loss. It can collapse; the guards will say so."""

    harm: float = 0.5
    utility: float = 1.0
    ceiling: float | None = None
    first_safe: tuple[float, ...] = ()
    first_kl: tuple[float, ...] = ()
