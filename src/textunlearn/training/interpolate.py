"""How far to go from the original model to the trained one, chosen on held-out prompts after training.

Weights between an original and a fine-tuned model, or a little beyond, often do better on what neither was tuned for than the
end of training (WiSE-FT: Wortsman et al. 2022, arXiv 2109.01903). With LoRA that line is one factor on every ``lora_B``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from textunlearn.files import read_json, write_json
from textunlearn.training.watch import MARK, Watch

if TYPE_CHECKING:
    from torch import Tensor

    from textunlearn.vlm.load import Vlm


def _updates(vlm: Vlm) -> list[Tensor]:
    """The weights that scale the whole adapter."""
    return [p for name, p in vlm.model.named_parameters() if "lora_B" in name]


@contextmanager
def scaled(vlm: Vlm, factor: float) -> Iterator[None]:
    """The model at ``factor`` of the way from the original (0) to the trained one (1), for the length of the block."""
    weights = _updates(vlm)
    kept = [p.detach().clone() for p in weights]
    for p in weights:
        p.data.mul_(factor)
    try:
        yield
    finally:
        for p, before in zip(weights, kept, strict=True):
            p.data.copy_(before)


def choose_factor(vlm: Vlm, watch: Watch, factors: Sequence[float], adapter: Path) -> float:
    """The factor with the best look among 1 and ``factors``; the adapter on ``vlm`` and in its folder is that one afterwards.

    ``vlm`` has the adapter of ``watch.best_look`` as the folder holds it. Of equal looks the one nearest to 1 wins. Whether
    the folder's adapter is scaled already stands in the folder itself, so that a run cut off here does not scale it twice.
    """
    if (adapter / MARK).exists():
        return float(read_json(adapter / MARK)["factor"])
    best = watch.best_look
    assert best is not None, "there is no adapter to scale"
    found = {1.0: best}
    for factor in factors:
        if factor not in found:
            with scaled(vlm, factor):
                found[factor] = watch.look_aside(best.step, factor)
    sound = [factor for factor, seen in found.items() if watch.sound(seen)]
    chosen = min(sound, key=lambda factor: (found[factor].cost, abs(factor - 1)))
    if chosen != 1.0:
        for p in _updates(vlm):
            p.data.mul_(chosen)
        watch.keep(lambda folder: write_json(folder / MARK, {"factor": chosen}))
    return chosen
