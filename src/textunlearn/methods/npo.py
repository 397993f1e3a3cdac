"""Negative preference optimisation and its form without a reference model, as harm terms between the two anchors.

NPO (Zhang et al. 2024, arXiv 2404.05868, eq. 3), with the log-ratio of a whole answer, summed over its tokens:

    L_harm = - (2 / beta) E[ log sigmoid( - beta log( p_current(y | x) / p_original(y | x) ) ) ]

SimNPO (Fan et al. 2024, arXiv 2410.07163, eq. 4), with the mean log-likelihood a token and a margin:

    L_harm = - (2 / beta) E[ log sigmoid( - (beta / |y|) log p_current(y | x) - gamma ) ]

Both are bounded: as the answer becomes unlikely, the pull fades. The papers keep usefulness by a retain loss; here it is the KL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from textunlearn.methods import METHODS, Answers
from textunlearn.methods.anchored import Anchored

if TYPE_CHECKING:
    from torch import Tensor

    from textunlearn.training.rows import Role


@METHODS.register("npo")
class NPO(Anchored):
    """Negative preference optimisation: unlearning relative to the original model."""

    reference: ClassVar[tuple[Role, ...]] = ("harmful", "benign")
    harm: float = Field(0.2, ge=0, description="w_harm: weight of the harm term, which is of whole answers")
    beta: float = Field(0.1, gt=0, description="inverse temperature: higher lets go of an unlearned answer sooner")

    def harm_loss(self, answers: Answers) -> Tensor:
        from torch.nn.functional import logsigmoid

        ratio = answers.per_answer(answers.log_ratio("harmful"), "harmful")
        return answers.answer_mean(-2 / self.beta * logsigmoid(-self.beta * ratio), "harmful")


@METHODS.register("simnpo")
class SimNPO(Anchored):
    """NPO by length-normalised likelihood, without the original model in the harm term."""

    harm: float = Field(1.0, ge=0, description="w_harm: weight of the harm term")
    beta: float = Field(2.5, gt=0, description="inverse temperature, on nats a token")
    gamma: float = Field(0.0, ge=0, description="margin, in units of beta nats a token")

    def harm_loss(self, answers: Answers) -> Tensor:
        from torch.nn.functional import logsigmoid

        nll = answers.per_answer(answers.nll("harmful"), "harmful", mean=True)
        return answers.answer_mean(-2 / self.beta * logsigmoid(self.beta * nll - self.gamma), "harmful")
