"""Distillation: keep (or give) the model the answers of a reference distribution; the utility term on its own.

With the reference of a typed request under the same request in the image slots it teaches a model to follow what it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textunlearn.methods import METHODS, Answers, Method

if TYPE_CHECKING:
    from torch import Tensor

    from textunlearn.training.rows import Role


@METHODS.register("distillation")
class Distillation(Method):
    """Mean KL(p_reference || p_current) over the tokens of benign answers."""

    roles: ClassVar[tuple[Role, ...]] = ("benign",)

    def loss(self, answers: Answers) -> Tensor:
        answers.figures()
        return answers.mean(answers.kl(), "benign")
