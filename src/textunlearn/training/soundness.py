"""What must hold of a model before it is trained, tried on the model itself with a few typed tokens.

Block masks hold rows apart only where attention alone carries something from one token to the next. Linear attention, state spaces and
convolutions carry it past any mask; such models are trained with each answer in a sequence of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from textunlearn.errors import UserError
from textunlearn.training.rows import Row, Target
from textunlearn.vlm.roomy_cache import only_attends

if TYPE_CHECKING:
    from textunlearn.vlm.model import Vlm

NOT_TRAINED = ("gate", "router")
"""Linear layers by which a mixture of experts chooses."""


def packs(vlm: Vlm) -> bool:
    """Whether a packed forward of this model is its separate forwards; tried once a model."""
    known = vlm.__dict__
    if "_packs" not in known:
        # Half precision rounds the sums of another layout otherwise (1 % in 30 layers), near which a small leak would not be seen.
        enough = 1e-3 if vlm.embed.weight.dtype == torch.float32 else 0.05
        known["_packs"] = only_attends(vlm.base.config) and packing_error(vlm) < enough
    return bool(known["_packs"])


def packing_error(vlm: Vlm) -> float:
    """How far hidden states of a packed forward are from those of separate ones, as a share of their length (median over tokens);
    infinite for a model that takes no mask of four dimensions."""
    from textunlearn.training.packing import LAST, answer_states, apart, pack

    rows = [
        Row("", tuple(vlm.prompt_ids(text)), (Target("harmful", tuple(said[:3])), Target("safe", tuple(said[3:]))))
        for text, said in (("one", vlm.encode("tell me why")[-3:] * 2), ("a b c", vlm.encode("not now, no")[-4:] * 2))
    ]
    with torch.inference_mode():
        alone = answer_states(vlm.decoder, vlm.embed, apart(rows, vlm.blank_id).to(vlm.device))[LAST].float()
        try:
            packed = pack(rows, vlm.blank_id, 1).to(vlm.device)
            together = answer_states(vlm.decoder, vlm.embed, packed)[LAST].float()
        except (
            RuntimeError,
            ValueError,
            TypeError,
            IndexError,
            AttributeError,
        ):  # no four-dimensional mask: how differs
            return float("inf")
    return float(((together - alone).norm(dim=-1) / alone.norm(dim=-1)).median())


def require_own_logits(vlm: Vlm) -> None:
    """UserError for a model that does something after its head that `vlm.after_head` does not know of."""
    ids = torch.tensor([vlm.prompt_ids("tell me why")], device=vlm.device)
    with torch.inference_mode():
        own = vlm.base(input_ids=ids, use_cache=False).logits.float()
        ours = vlm.logits(vlm.decoder(input_ids=ids, use_cache=False).last_hidden_state).float()
    close = own.shape == ours.shape and bool((own - ours).abs().max() <= 0.05 * ours.abs().max())
    if not close:
        raise UserError(
            f"{vlm.name} ({type(vlm.base).__name__}) changes its logits after the head in a way that textunlearn does not know, so "
            "losses would be of other logits than the model's; name another model, or report this one"
        )


def trained_layers(vlm: Vlm) -> list[str]:
    """Dotted names of the linear layers of the language model that a typed request runs through.

    Not its head, not those by which experts are chosen, and not those for pictures alone (Mllama's cross-attention).
    """
    # A state space's fused kernels read their output's weights past the layer, and with them past its adapter; peft refuses it.
    fused = {f"{name}.out_proj" for name, module in vlm.base.named_modules() if hasattr(module, "conv1d")}
    linear: dict[nn.Module, str] = {
        module: name
        for name, module in vlm.base.named_modules()
        if isinstance(module, nn.Linear)
        and vlm.in_language(name)
        and name.rsplit(".", 1)[-1] not in NOT_TRAINED
        and name not in fused
    }
    seen: set[tuple[str, ...]] = set()

    def look(module: nn.Module, *_: Any) -> None:
        seen.add(_kin(linear[module]))

    handles = [module.register_forward_hook(look) for module in linear]
    try:
        with torch.inference_mode():
            vlm.decoder(input_ids=torch.tensor([vlm.prompt_ids("tell me")], device=vlm.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return [name for name in linear.values() if _kin(name) in seen]


def _kin(name: str) -> tuple[str, ...]:
    """A layer's name with all experts' being one: not every expert is chosen for a few tokens."""
    return tuple("*" if part.isdigit() and "experts" in before else part for part, before in _with_before(name))


def _with_before(name: str) -> list[tuple[str, str]]:
    parts = name.split(".")
    return list(zip(parts, ["", *parts], strict=False))


def pattern_of(names: list[str]) -> str:
    """A regular expression that matches exactly these dotted names, short where they repeat in many layers."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        found = re.fullmatch(r"(.*?\.layers)\.(\d+)\.(.*)", name)
        key = (found[1], found[3]) if found else ("", name)
        groups.setdefault(key, []).append(found[2] if found else "")
    same: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (before, rest), numbers in groups.items():
        same.setdefault((before, tuple(numbers)), []).append(rest)
    return "|".join(
        (rf"{re.escape(before)}\.({'|'.join(numbers)})\." if before else "") + f"({'|'.join(map(re.escape, rest))})"
        for (before, numbers), rest in same.items()
    )
