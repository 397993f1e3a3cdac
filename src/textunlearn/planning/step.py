"""One training step on meta tensors: the project's own model, adapter, rows, losses and optimizer, with nothing computed.

It is the code that a run runs (`UnlearningTrainer.compute_loss`, `MasterAdamW`), so what it would hold and multiply needs no formula.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from textunlearn.errors import UserError
from textunlearn.methods import Answers, Method
from textunlearn.planning.live import META, LiveBytes, fused_attention
from textunlearn.recipe import Recipe
from textunlearn.training.flops import FlopCounter
from textunlearn.training.memory import checkpoint
from textunlearn.training.optimizer import LossScale, MasterAdamW
from textunlearn.training.packing import LAST, Packed, shared_prefix
from textunlearn.training.plan import MicroBatch, Plan
from textunlearn.training.reference import state_key
from textunlearn.training.trainer import AnswerStates, UnlearningTrainer, add_lora, method_layers
from textunlearn.vlm.attention import quick_attention
from textunlearn.vlm.model import Vlm

FAILS = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError, AttributeError, KeyError)
"""How a model's code fails that looks at numbers where there are none."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a training step holds and multiplies, on one device; bytes where nothing else is said.

    Attributes:
        weights: of the model and the adapter, as they lie in memory.
        trained: of these, what is trained.
        split: of the weights, those of the language model's layers, which `--shard` splits; ``largest``: of one layer.
        linear: of the weights, the frozen matrices of the language model, which `model.quantize` holds in four bits.
        gradients, optimizer: of what is trained.
        peak: the most that is there at once, all of the above in it.
        reference: the original's states at all answers of the run, in main memory.
        positions: of the largest micro-batch, padding included; ``mean``: of a step on average.
        flops: of a step on average, forward and backward.
    """

    weights: int
    trained: int
    split: int
    largest: int
    linear: int
    gradients: int
    optimizer: int
    peak: int
    reference: int
    positions: int
    mean: float
    flops: float

    @property
    def activations(self) -> int:
        """What the rows of a step take beside weights, gradients and the optimizer's state."""
        return max(0, self.peak - self.weights - self.gradients - self.optimizer)


def empty_model(config: Any, dtype: torch.dtype) -> Any:
    """A model of ``config`` without numbers. UserError if it cannot be made from its config."""
    from textunlearn.vlm.load import auto_class

    try:
        with META:
            model = auto_class(config).from_config(config, dtype=dtype)
    except (*FAILS, ImportError) as error:
        raise UserError(
            f"a {config.model_type} model cannot be laid out by its config: {' '.join(str(error).split())[:200]}"
        ) from error
    model.tie_weights()
    return model.eval().requires_grad_(False)


def footprint(
    vlm: Vlm, recipe: Recipe, method: Method, plan: Plan, reference: Mapping[str, Tensor], gpu: bool
) -> Footprint:
    """The step of ``recipe`` with the largest micro-batch of ``plan``, the second one: when gradients, the optimizer's state and all
    rows are there.

    Args:
        vlm: on meta (`empty_model`); it gets the adapter that the recipe asks for, and is of no use for another afterwards.
        reference: as `meta_reference` makes it.
        gpu: attention as a GPU computes it; otherwise as training does on a CPU.
    """
    spec = recipe.training
    with META, LiveBytes():  # it runs a few tokens through the model
        add_lora(vlm, spec.lora_rank, spec.lora_alpha, spec.lora_skip, full=spec.full, kind=spec.lora_kind)
        # Where there are numbers peft gives an adapter its layer's precision; on meta it leaves it in float32.
        for name, weight in vlm.model.named_parameters():
            if "lora_" in name:
                weight.data = weight.data.to(vlm.embed.weight.dtype)  # type: ignore[arg-type, union-attr]
    if spec.gradient_checkpointing:
        checkpoint(vlm)
    vlm.model.train()
    trained = [p for p in vlm.model.parameters() if p.requires_grad]
    live, flops = LiveBytes(), FlopCounter()
    trainer = _Steps(vlm, method, plan, reference, recipe, live)
    optimizer = MasterAdamW(trained, lr=spec.lr, scale=trainer.scale)
    micro, positions, mean = _largest(trainer, plan, spec.accumulate)
    live.add([*vlm.model.parameters(), *vlm.model.buffers()])
    weights = live.now
    gc.collect()
    try:
        with _attention(vlm, gpu or spec.gradient_checkpointing), live:
            for turn in range(2):
                for part in range(min(spec.accumulate, 2)):  # of later parts, gradients are there already
                    with flops if (turn, part) == (1, 0) else nullcontext():
                        trainer.compute_loss(trainer.bare, {"micro": micro}).backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                optimizer.zero_grad()
    except FAILS as error:
        raise UserError(
            f"{vlm.name} cannot be planned, because its code looks at numbers that are not there yet "
            f"({' '.join(str(error).split())[:200]}); `textunlearn doctor --model` sizes it by rule of thumb"
        ) from error
    layers = _layers(vlm)
    return Footprint(
        weights=weights,
        trained=_bytes(trained),
        split=sum(map(_bytes_of, layers)),
        largest=max(map(_bytes_of, layers), default=0),
        linear=_bytes(_matrices(vlm)),
        gradients=_bytes(trained),
        optimizer=_bytes([v for state in optimizer.state.values() for v in state.values() if v.is_meta]),
        peak=live.peak,
        reference=_bytes(reference.values()),
        positions=positions,
        mean=mean,
        flops=flops.total / positions * mean,
    )


def meta_reference(vlm: Vlm, plan: Plan, method: Method) -> dict[str, Tensor]:
    """What `reference_states` would give for ``plan``, without numbers."""
    text = vlm.base.config.get_text_config()
    depths = (LAST, *method_layers(vlm, method))
    return {
        state_key(row.key, target.role, layer): torch.empty(
            len(target.ids), text.hidden_size, dtype=vlm.base.dtype, device=META
        )
        for row in plan.rows()
        for target in row.targets
        if target.role in method.reference
        for layer in depths
    }


class _Steps(UnlearningTrainer):
    """The trainer's own loss, without transformers' loop around it: that would put the model on a real device."""

    def __init__(
        self, vlm: Vlm, method: Method, plan: Plan, reference: Mapping[str, Tensor], recipe: Recipe, live: LiveBytes
    ) -> None:
        self.live = live
        self.vlm, self.method, self.plan, self.reference = vlm, method, plan, reference
        self.adversarial, self.scale = recipe.training.adversarial, LossScale.of(vlm.base.dtype)
        self.features = _features(vlm, plan)
        self.prefix = shared_prefix(plan.rows()) if self.adversarial else None
        self.tokens = self.positions = 0
        self._log = {}
        self.args: Any = SimpleNamespace(max_grad_norm=1.0)
        self.state: Any = SimpleNamespace(global_step=0, max_steps=recipe.training.steps)
        self.bare = AnswerStates(vlm, recipe.slots.noise, method_layers(vlm, method))

    def answers(self, micro: MicroBatch, packed: Packed, *args: Any, **kwargs: Any) -> Answers:
        out = super().answers(micro, packed, *args, **kwargs)
        for role, rows in out.row.items():  # how many answers there are is not in the numbers, which are not there
            self.live.grouped(rows, sum(segment.role == role for segment in packed.segments))
        return out


def _features(vlm: Vlm, plan: Plan) -> dict[str, Tensor]:
    """Features of the rows' pictures, without numbers."""
    width = vlm.base.config.get_text_config().hidden_size
    return {
        row.picture: torch.empty(len(row.slots), width, dtype=vlm.base.dtype, device=META)
        for row in plan.rows()
        if row.picture
    }


def _largest(trainer: _Steps, plan: Plan, accumulate: int) -> tuple[MicroBatch, int, float]:
    """The micro-batch with the most positions, how many it has, and the mean of a whole step."""
    from textunlearn.training.packing import lay_out

    def positions(micro: MicroBatch) -> int:
        return lay_out(trainer.vlm, micro.rows, trainer.features, trainer.prefix).input_ids.numel()

    sizes = [positions(micro) for micro in plan.micro]
    largest = max(range(len(sizes)), key=sizes.__getitem__)
    return plan.micro[largest], sizes[largest], sum(sizes) / len(sizes) * accumulate


def _layers(vlm: Vlm) -> list[nn.Module]:
    layers = getattr(vlm.decoder, "layers", None)
    return list(layers) if isinstance(layers, nn.ModuleList) else []


def _matrices(vlm: Vlm) -> list[Tensor]:
    """What `vlm.quantize` would hold in four bits."""
    return [
        module.weight
        for name, module in vlm.base.named_modules()
        if isinstance(module, nn.Linear)
        and vlm.in_language(name)
        and "lora_" not in name
        and not module.weight.requires_grad
    ]


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _bytes_of(module: nn.Module) -> int:
    return _bytes(module.parameters())


@contextmanager
def _attention(vlm: Vlm, fused: bool) -> Iterator[None]:
    """Attention as the device would compute it."""
    if fused:
        with fused_attention():
            yield
        return
    with quick_attention(vlm.decoder, "cpu"):
        yield
