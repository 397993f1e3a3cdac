"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, eq. 7): the safe answer preferred to the harmful one.

    L = - E[ log sigmoid( beta log( p(y_safe | x) / p_original(y_safe | x) ) - beta log( p(y_harm | x) / p_original(y_harm | x) ) ) ]
        + w_utility KL(p_original || p_current)

Log-ratios are sums over an answer's tokens. The paper's loss says nothing of harmless requests; the KL on them is what every
method here is held by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from textunlearn.methods import METHODS, Answers, Method, weights_at
from textunlearn.methods.anchored import FIRST_KL

if TYPE_CHECKING:
    from torch import Tensor

    from textunlearn.training.rows import Role


@METHODS.register("dpo")
class DPO(Method):
    """The safe answer preferred to the harmful one, relative to the original model."""

    reference: ClassVar[tuple[Role, ...]] = ("harmful", "safe", "benign")
    preference: float = Field(20.0, ge=0, description="weight of the preference loss")
    beta: float = Field(0.1, gt=0, description="inverse temperature: lower moves further from the original model")
    utility: float = Field(5.0, ge=0, description="w_utility: how hard the original model is kept on harmless requests")
    first_kl: tuple[float, ...] = Field(
        FIRST_KL, description="weights of the KL at the first tokens; the last for the rest"
    )

    def loss(self, answers: Answers) -> Tensor:
        from torch.nn.functional import logsigmoid

        answers.figures()
        # A row with a harmful answer has a safe one as well, in the same order: the two are a pair.
        safe, harmful = (answers.per_answer(answers.log_ratio(role), role) for role in ("safe", "harmful"))
        preferred = answers.answer_mean(-logsigmoid(self.beta * (safe - harmful)), "harmful")
        kl = answers.kl() * weights_at(answers.position["benign"], self.first_kl)
        return self.preference * preferred + self.utility * answers.mean(kl, "benign")
