"""Both models in one: the adapter is not merged, and each row of a batch says how much of it counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from textunlearn.vlm.load import Vlm

ORIGINAL, ALIGNED = 0.0, 1.0
"""Strengths: 0 is the original model exactly, 1 the trained one, and between them lies the line that WiSE-FT goes along
(arXiv 2109.01903)."""


class Pair:
    """A model with its adapter on it (`result.load_both`).

    In half precision the unmerged adapter is rounded otherwise than the merged one that the evaluation asks, so that near ties between two
    tokens can fall the other way.
    """

    def __init__(self, vlm: Vlm) -> None:
        from peft.tuners.lora.layer import LoraLayer
        from peft.utils.other import ModulesToSaveWrapper

        self.vlm = vlm
        modules = list(vlm.base.modules())
        self._lora: list[tuple[Any, dict[str, float]]] = [
            (layer, dict(layer.scaling)) for layer in modules if isinstance(layer, LoraLayer)
        ]
        self._strength: Any = ALIGNED
        for module in modules:
            if isinstance(
                module, ModulesToSaveWrapper
            ):  # weights of their own in place of the original's (training.full)
                module.register_forward_hook(self._between)
        self.mixes = self._rows_stay_apart()
        """Whether rows of different strengths may stand in one batch."""

    @contextmanager
    def at(self, strengths: Sequence[float]) -> Iterator[None]:
        """The model with so much of the adapter for each row, for the length of the block."""
        import torch

        same = len(set(strengths)) == 1
        self._strength = strengths[0] if same else torch.tensor(strengths, device=self.vlm.device)[:, None, None]
        for layer, scaling in self._lora:
            for name, factor in scaling.items():
                layer.scaling[name] = factor * self._strength
        try:
            yield
        finally:
            self._strength = ALIGNED
            for layer, scaling in self._lora:
                layer.scaling.update(scaling)

    def _between(self, module: Any, given: tuple[Any, ...], new: torch.Tensor) -> torch.Tensor:
        if isinstance(self._strength, float) and self._strength == ALIGNED:
            return new
        old = module.original_module(*given)
        return (old + self._strength * (new - old)).to(new.dtype)

    def _rows_stay_apart(self) -> bool:
        """Whether each adapted layer is given rows as rows. Layers of experts, say, may get a heap of tokens."""
        import torch

        seen: list[bool] = []

        def look(module: Any, given: tuple[Any, ...]) -> None:
            seen.append(given[0].dim() == 3 and given[0].shape[0] == 2)

        hooks = [layer.register_forward_pre_hook(look) for layer, _ in self._lora]
        try:
            with torch.inference_mode():
                self.vlm.model(input_ids=torch.full((2, 3), self.vlm.blank_id, device=self.vlm.device))
        finally:
            for hook in hooks:
                hook.remove()
        return bool(seen) and all(seen)
