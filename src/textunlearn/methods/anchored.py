"""What most methods share: a harm term of their own, held by safe answers and by the original model on harmless requests.

    L = w_harm L_harm  +  w_safe CE(y_safe | x_harm)  +  w_utility KL(p_original(. | x) || p_current(. | x))

The last two are textual unlearning's (arXiv 2406.02575). With them the same, the comparison of methods is one of harm terms.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from pydantic import Field

from textunlearn.methods import Answers, Method, weights_at

if TYPE_CHECKING:
    from torch import Tensor

FIRST_SAFE = (20.0, 10.0, 5.0, 3.0)
"""The last holds for the rest of the answer: at a third of it a model learns to begin a refusal, and not to end it."""
FIRST_KL = (8.0, 4.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0)


class Anchored(Method):
    """A harm term between the two anchors."""

    harm: float = Field(0.4, ge=0, description="w_harm: weight of the harm term")
    safe: float = Field(0.4, ge=0, description="w_safe: how hard safe answers are learned")
    utility: float = Field(
        12.0, ge=0, description="w_utility: how hard the original model is kept on harmless requests"
    )
    first_safe: tuple[float, ...] = Field(
        FIRST_SAFE, description="weights of the safe answer's first tokens; the last for the rest"
    )
    first_kl: tuple[float, ...] = Field(
        FIRST_KL,
        description="weights of the KL at the first tokens (a refusal may also begin a few words in); the last for the rest",
    )

    @abstractmethod
    def harm_loss(self, answers: Answers) -> Tensor:
        """L_harm of this micro-batch."""

    def loss(self, answers: Answers) -> Tensor:
        answers.figures()
        safe = answers.nll("safe") * weights_at(answers.position["safe"], self.first_safe)
        kl = answers.kl() * weights_at(answers.position["benign"], self.first_kl)
        return (
            self.harm * self.harm_loss(answers)
            + self.safe * answers.mean(safe, "safe")
            + self.utility * answers.mean(kl, "benign")
        )
