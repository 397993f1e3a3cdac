"""What models do to their logits after the head, by the names transformers has for it.

Losses want logits at the answers only, so the head is called on chosen states and not through the model's own forward. A model that
does something which is not known here is refused before training (`training.soundness`).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

DIVISORS = ("logits_scaling",)
"""Granite and its kin, MiniCPM 3 (there before the head, which is the same)."""
FACTORS = ("logit_scale", "lm_head_multiplier", "output_multiplier")
"""Cohere and Aya; Falcon-H1; Muse."""
CAPS = ("final_logit_softcapping", "logits_soft_cap")
"""Gemma 2, 3n and 4; RecurrentGemma. Factors come before them."""
MODULES = ("logit_softcap",)
"""Inkling 2 has its cap as a module without weights."""
SIZES = ("unpadded_vocab_size",)
"""Inkling's head has rows that stand for no token."""


def after_head(model: Any, logits: Tensor) -> Tensor:
    """``logits``, as the head of ``model`` gave them, as its own forward returns them, ``(..., vocabulary)``."""
    for name in DIVISORS:
        if (scaling := _number(model, name)) is not None:
            # HyperCLOVA X multiplies by what every Granite divides by.
            multiplies = model.config.get_text_config().model_type.startswith("hyperclovax")
            logits = logits * scaling if multiplies else logits / scaling
    for name in FACTORS:
        if (factor := _number(model, name)) is not None:
            logits = logits * factor
    for name in CAPS:
        if (cap := _number(model, name)) is not None:
            logits = (logits / cap).tanh() * cap
    for name in MODULES:
        if _uses(model, name):
            logits = getattr(model, name)(logits)
    for name in SIZES:
        if (size := _number(model, name)) is not None:
            logits = logits[..., : int(size)]
    return logits


def _number(model: Any, name: str) -> float | None:
    """A number of the text config, where the model's forward uses it; many VLMs (LLaVA, Aya Vision, Gemma 3's) do not
    do after the head what their language model alone would."""
    return getattr(model.config.get_text_config(), name, None) if _uses(model, name) else None


def _uses(model: Any, name: str) -> bool:
    code = inspect.unwrap(type(model).forward).__code__
    return name in code.co_names or name in code.co_consts  # a constant: PaliGemma asks by getattr
