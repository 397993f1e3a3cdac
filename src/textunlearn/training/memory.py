"""Trading time for memory: activations that are computed again instead of being kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from textunlearn.vlm.load import Vlm


def checkpoint(vlm: Vlm) -> None:
    """While ``vlm`` trains, each layer keeps its input only and is computed again in the backward pass: about a third more work, and
    memory of one layer's activations instead of all (Chen et al. 2016, arXiv 1604.06174). UserError for a model that cannot."""
    if not getattr(vlm.base, "supports_gradient_checkpointing", False):
        raise UserError(
            f"{vlm.name} ({type(vlm.base).__name__}) cannot compute its layers again; set training.gradient_checkpointing to false"
        )
    # The second is transformers' older name for the first.
    enable = getattr(vlm.base, "activation_checkpointing_enable", None) or vlm.base.gradient_checkpointing_enable
    enable({"use_reentrant": False})  # reentrant ones lose the gradient where nothing before a layer is trained


def checkpointed(decoder: nn.Module) -> bool:
    """Whether `checkpoint` was called for this language model."""
    return any(getattr(module, "gradient_checkpointing", False) for module in decoder.modules())
