"""How large a model is, by its config alone: no weights are read, and none are held in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textunlearn.errors import UserError
from textunlearn.vlm.load import auto_class, choose, config_of

if TYPE_CHECKING:
    from textunlearn.recipe import ModelSpec

ROOM = 3e9
"""Bytes of a run beyond the weights that every model needs: Python, PyTorch, the rows of a step, the judge."""
SHARE = 0.25
"""The same as a share of the weights: what grows with the model (adapter, activations, features of pictures)."""


@dataclass(frozen=True, slots=True)
class Size:
    """Attributes:
    parameters: of the whole model, tied weights once.
    weights: bytes they take in the precision that this machine would choose.
    run: bytes a run takes by rule of thumb: the weights and a quarter, and 3 GB.
    device, dtype: where and how the model would be held.
    """

    parameters: int
    weights: int
    run: int
    device: str
    dtype: str


def size(spec: ModelSpec) -> Size:
    """The size of the model ``spec`` names. UserError if it cannot be found, has no language model, or brings code of its own."""
    from accelerate import init_empty_weights

    config = config_of(spec)
    device, dtype = choose(spec)
    try:
        with init_empty_weights():
            model = auto_class(config).from_config(config)
    except (ValueError, ImportError, KeyError, TypeError) as error:
        raise UserError(f"{spec.id} cannot be sized by its config: {' '.join(str(error).split())[:200]}") from error
    model.tie_weights()
    parameters = sum(p.numel() for p in model.parameters())
    weights = parameters * dtype.itemsize
    return Size(parameters, weights, round(weights * (1 + SHARE) + ROOM), device, str(dtype).removeprefix("torch."))
