"""Unlearning methods: one file a loss. A method turns the answers of one packed forward into a loss.

To add one: a file in this package with a class derived from `Method`, decorated ``@METHODS.register("name")``, and one row in
``tests/test_methods.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from textunlearn.errors import UserError
from textunlearn.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from textunlearn.training.rows import Role


@dataclass
class Answers:
    """The answer tokens of one micro-batch, by role, and what the whole step holds.

    Attributes:
        logits: role -> ``(tokens, vocabulary)`` float32, answers of that role one after another.
        targets: role -> ``(tokens,)`` token ids.
        position: role -> ``(tokens,)`` place of each token in its answer, from 0.
        reference: ``(tokens, vocabulary)`` logits of the original model at the benign tokens; None if the method needs none.
        step_tokens: role -> tokens in the whole step (all micro-batches and processes), the denominator of every mean,
            so that 8 x 1 rows and 1 x 8 rows give the same loss.
        step_answers: role -> answers in the whole step.
    """

    logits: dict[Role, Tensor]
    targets: dict[Role, Tensor]
    position: dict[Role, Tensor]
    reference: Tensor | None
    step_tokens: dict[Role, int]
    step_answers: dict[Role, int]
    log: dict[str, float] = field(default_factory=dict)
    """Figures for the training log, as shares of the step (they add up over micro-batches)."""

    def nll(self, role: Role) -> Tensor:
        """Negative log-likelihood ``(tokens,)`` of the answers of one role."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(self.logits[role], self.targets[role], reduction="none")

    def kl(self) -> Tensor:
        """``KL(p_original || p_current)`` at each benign token, ``(tokens,)``, exact over the vocabulary."""
        from torch.nn.functional import kl_div

        assert self.reference is not None, "this method did not ask for the reference (set needs_reference)"
        return kl_div(
            self.logits["benign"].log_softmax(-1), self.reference.log_softmax(-1), reduction="none", log_target=True
        ).sum(-1)

    def mean(self, values: Tensor, role: Role) -> Tensor:
        """This micro-batch's part of the step's mean over the tokens of ``role``."""
        return values.sum() / max(self.step_tokens.get(role, 0), 1)

    def first_mean(self, values: Tensor, role: Role) -> Tensor:
        """The same over the first token of each answer."""
        return values[self.position[role] == 0].sum() / max(self.step_answers.get(role, 0), 1)


def weights_at(position: Tensor, first: tuple[float, ...]) -> Tensor:
    """Weight of each answer token: ``first`` for the first ones, 1 for the rest."""
    out = position.new_ones(position.shape).float()
    for place, weight in enumerate(first):
        out[position == place] = weight
    return out


class Method(BaseModel, ABC):
    """A loss with its settings (fields, checked when the recipe is read)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: ClassVar[tuple[Role, ...]] = ("harmful", "safe", "benign")
    """Which answers a training row needs."""
    needs_reference: ClassVar[bool] = True
    """Whether the original model's distribution at the benign answers is needed."""

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            known = ", ".join(type(self).model_fields)
            raise UserError(
                f"method.settings.{key}: {first['msg']}; the settings of this method are: {known}"
            ) from None

    @abstractmethod
    def loss(self, answers: Answers) -> Tensor:
        """The scalar to minimise for this micro-batch (means by `Answers.mean`); may add figures to ``answers.log``."""


METHODS: Registry[Callable[..., Method]] = Registry("method", "textunlearn.methods")
