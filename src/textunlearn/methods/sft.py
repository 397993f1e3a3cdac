"""Supervised fine-tuning on safe answers: the usual safety training, which the paper (arXiv 2406.02575) compares with.

    L = w_safe CE(y_safe | x_harm) + w_utility CE(y_benign | x_benign)

on answer tokens, with the original model's own answers to harmless requests (VLGuard, arXiv 2402.02207, mixes harmless data in the
same way). Nothing is unlearned: the harmful answers are not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from textunlearn.methods import METHODS, Answers, Method

if TYPE_CHECKING:
    from torch import Tensor

    from textunlearn.training.rows import Role


@METHODS.register("sft")
class SFT(Method):
    """Likelihood of safe answers to harmful requests and of the model's own answers to harmless ones."""

    roles: ClassVar[tuple[Role, ...]] = ("safe", "benign")
    safe: float = Field(1.0, ge=0, description="weight of the safe answers")
    utility: float = Field(1.0, ge=0, description="weight of the harmless answers")

    def loss(self, answers: Answers) -> Tensor:
        answers.figures()
        safe, benign = (answers.mean(answers.nll(role), role) for role in self.roles)
        return self.safe * safe + self.utility * benign
