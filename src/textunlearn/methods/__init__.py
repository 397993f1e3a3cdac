"""Unlearning methods: one file a loss. A method turns the answers of one packed forward into a loss.

To add one: a file in this package with a class derived from `Method`, decorated ``@METHODS.register("name")``, and one row in
``tests/test_methods.py``. docs/adding_a_method.md goes through a whole one.
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
        position: role -> ``(tokens,)`` place of each token in the model's turn, from 0; after begun words an answer starts later.
        row: role -> ``(tokens,)`` number of the micro-batch's row that each token belongs to; answers of one row share it.
        reference: role -> ``(tokens, vocabulary)`` logits of the original model, for the roles in `Method.reference` but those in
            `Method.states_only`.
        step_tokens: role -> tokens in the whole step (all micro-batches and processes), the denominator of every mean,
            so that 8 x 1 rows and 1 x 8 rows give the same loss.
        step_answers: role -> answers in the whole step.
        states: layer -> role -> ``(tokens, hidden)`` outputs of the layers that `Method.layers` names, at the positions that
            predict the answers.
        reference_states: the same of the original model.
        progress: share of the training that is done, 0 to 1.
    """

    logits: dict[Role, Tensor]
    targets: dict[Role, Tensor]
    position: dict[Role, Tensor]
    row: dict[Role, Tensor]
    reference: dict[Role, Tensor]
    step_tokens: dict[Role, int]
    step_answers: dict[Role, int]
    states: dict[int, dict[Role, Tensor]] = field(default_factory=dict)
    reference_states: dict[int, dict[Role, Tensor]] = field(default_factory=dict)
    progress: float = 0.0
    log: dict[str, float] = field(default_factory=dict)
    """Figures for the training log, as shares of the step (they add up over micro-batches)."""
    _made: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def nll(self, role: Role) -> Tensor:
        """Negative log-likelihood ``(tokens,)`` of the answers of one role."""
        from torch.nn.functional import cross_entropy

        return self._once(f"nll {role}", lambda: cross_entropy(self.logits[role], self.targets[role], reduction="none"))

    def kl(self, role: Role = "benign") -> Tensor:
        """``KL(p_original || p_current)`` at each token of a role, ``(tokens,)``, exact over the vocabulary."""
        from torch.nn.functional import kl_div

        def over_vocabulary() -> Tensor:
            current, original = self.logits[role].log_softmax(-1), self._reference(role).log_softmax(-1)
            return kl_div(current, original, reduction="none", log_target=True).sum(-1)

        return self._once(f"kl {role}", over_vocabulary)

    def log_ratio(self, role: Role) -> Tensor:
        """``log p_current(token) - log p_original(token)``, ``(tokens,)``."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(self._reference(role), self.targets[role], reduction="none") - self.nll(role)

    def _once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """What both a loss and its log need: passes over the vocabulary are dear."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _reference(self, role: Role) -> Tensor:
        assert role in self.reference, f"this method did not ask for the original's {role} answers (set `reference`)"
        return self.reference[role]

    def mean(self, values: Tensor, role: Role) -> Tensor:
        """This micro-batch's part of the step's mean over the tokens of ``role``."""
        return values.sum() / max(self.step_tokens.get(role, 0), 1)

    def first_mean(self, values: Tensor, role: Role) -> Tensor:
        """The same over the first token of each answer."""
        return values[self.position[role] == 0].sum() / max(self.step_answers.get(role, 0), 1)

    def per_answer(self, values: Tensor, role: Role, *, mean: bool = False) -> Tensor:
        """Sum (or mean) of token values over each answer of ``role``: ``(answers,)``, in the order of their rows."""
        _, number, length = self.row[role].unique_consecutive(return_inverse=True, return_counts=True)
        sums = values.new_zeros(len(length)).index_add(0, number, values)
        return sums / length if mean else sums

    def answer_mean(self, values: Tensor, role: Role) -> Tensor:
        """This micro-batch's part of the step's mean over the answers of ``role`` (``values``: one an answer)."""
        return values.sum() / max(self.step_answers.get(role, 0), 1)

    def figures(self) -> None:
        """Log the usual figures of the roles that are there: nats a token."""
        for role, name in (("harmful", "harm_nll"), ("safe", "safe_nll")):
            if role in self.logits:
                self.log[name] = self.mean(self.nll(role), role).item()  # type: ignore[arg-type]
        if "benign" in self.reference:
            kl = self.kl()
            self.log |= {"kl": self.mean(kl, "benign").item(), "first_token_kl": self.first_mean(kl, "benign").item()}


def weights_at(position: Tensor, first: tuple[float, ...]) -> Tensor:
    """Weight of each answer token: ``first`` by its place, the last one for all that follow; 1 everywhere if it is empty."""
    import torch

    weights = torch.tensor(first or (1.0,), device=position.device)
    return weights[position.clamp(max=len(weights) - 1)]


class Method(BaseModel, ABC):
    """A loss with its settings (fields, checked when the recipe is read)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: ClassVar[tuple[Role, ...]] = ("harmful", "safe", "benign")
    """Which answers a training row needs."""
    reference: ClassVar[tuple[Role, ...]] = ("benign",)
    """Of which roles the original model's distribution is needed; the log's KL needs ``benign``."""

    states_only: ClassVar[tuple[Role, ...]] = ()
    """Those of `reference` of which the loss uses only states at `layers`: no distribution of the original's is computed for them."""

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            known = ", ".join(type(self).model_fields) or "none"
            raise UserError(
                f"method.settings.{key}: {first['msg']}; the settings of this method are: {known}"
            ) from None

    def layers(self, count: int) -> tuple[int, ...]:
        """The layers, from 1 to ``count`` (what the language model has), whose outputs the loss needs."""
        return ()

    @abstractmethod
    def loss(self, answers: Answers) -> Tensor:
        """The scalar to minimise for this micro-batch (means by `Answers.mean`); may add figures to ``answers.log``."""


METHODS: Registry[Callable[..., Method]] = Registry("method", "textunlearn.methods")
