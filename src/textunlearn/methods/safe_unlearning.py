"""Safe Unlearning (Zhang et al. 2024, arXiv 2407.02855): an adaptive harm term, safe answers and general answers, all likelihoods.

    L = alpha L_harm + theta CE(y_safe | x_harm) + CE(y_benign | x_benign)
    L_harm = - (2 / beta) E[ log sigmoid( - beta log( p_current(y | x) / p_original(y | x) ) ) ]

with alpha 0.3, theta 0.5, beta 1, and the log-ratio a mean over the answer's tokens (the authors' code leaves the factor 2 / beta
out, which at beta 1 is half the weight). The general answers are the original model's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from textunlearn.methods import METHODS, Answers, Method

if TYPE_CHECKING:
    from torch import Tensor

    from textunlearn.training.rows import Role


@METHODS.register("safe_unlearning")
class SafeUnlearning(Method):
    """Safe Unlearning: NPO-like harm term with log-ratios a token, and plain likelihoods beside it."""

    reference: ClassVar[tuple[Role, ...]] = ("harmful", "benign")
    harm: float = Field(0.3, ge=0, description="alpha: weight of the harm term")
    safe: float = Field(0.5, ge=0, description="theta: weight of the safe answers")
    utility: float = Field(1.0, ge=0, description="weight of the general answers")
    beta: float = Field(1.0, gt=0, description="inverse temperature, on nats a token")

    def loss(self, answers: Answers) -> Tensor:
        from torch.nn.functional import logsigmoid

        answers.figures()
        ratio = answers.per_answer(answers.log_ratio("harmful"), "harmful", mean=True)
        harm = answers.answer_mean(-2 / self.beta * logsigmoid(-self.beta * ratio), "harmful")
        return (
            self.harm * harm
            + self.safe * answers.mean(answers.nll("safe"), "safe")
            + self.utility * answers.mean(answers.nll("benign"), "benign")
        )
