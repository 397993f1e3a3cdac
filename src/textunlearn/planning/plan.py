"""What each way to train a model would take on a machine, and which of them fit: `textunlearn plan`.

Memory is that of a training step run on meta tensors (`planning.step`); what a model split over GPUs saves, and what copies on several add,
is computed from its parts. Time is the step's floating-point operations over the machine's rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from textunlearn.errors import UserError
from textunlearn.methods import METHODS
from textunlearn.planning.machines import ALLOCATOR, CONTEXT, GPU_USE, Gpu, Machine, cpu_rate
from textunlearn.recipe import Recipe

if TYPE_CHECKING:
    from textunlearn.planning.step import Footprint

Spread = Literal["one", "copies", "split"]
"""One process; a copy of the model on each GPU (DDP); the language model split over the GPUs (FSDP2)."""
CPU_USE = 0.4
"""Share of a processor's rate at matrix products that a whole step reaches (benchmarks/plan_check.py)."""
FOUR_BITS = 4.127 / 16
"""What a weight in NF4 takes of one in half precision: 4 bits, and 0.127 for its scales (Dettmers et al. 2023, arXiv 2305.14314)."""
WORKING = 0.1e9
"""Bytes that libraries take once they work, beside those they take once they are loaded (benchmarks/plan_check.py)."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a model could be trained. ``processes``: one a GPU; ``quantized``: the frozen weights in four bits (QLoRA)."""

    method: str
    full: bool
    dtype: str
    spread: Spread
    processes: int
    quantized: bool = False

    @property
    def title(self) -> str:
        trained = "all weights" if self.full else "LoRA"
        how = {"one": "", "copies": f", {self.processes} copies", "split": f", split over {self.processes}"}
        return f"{trained}, {self.dtype}{' on four bits' if self.quantized else ''}{how[self.spread]}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one way takes. ``why``: why it cannot be; then the figures are 0.

    Attributes:
        memory: bytes at the peak, on each GPU, or of main memory on a CPU.
        has: bytes there are.
        weights, state, activations: parts of ``memory``: the model; gradients and the optimizer's state; what the rows of a step take;
            ``libraries``: what is there without a model.
        accumulate: micro-batches a step, for each process; raised from the recipe's where it does not fit otherwise.
        checkpointing: activations computed again in the backward pass; turned on where it does not fit otherwise.
        step_flops: of a step, over all processes.
        seconds: of all steps; sampling and evaluation not counted.
        cost: of these seconds, in the unit of the price.
    """

    way: Way
    memory: float = 0.0
    has: float = 0.0
    weights: float = 0.0
    state: float = 0.0
    activations: float = 0.0
    libraries: float = 0.0
    accumulate: int = 1
    checkpointing: bool = False
    step_flops: float = 0.0
    seconds: float = 0.0
    cost: float | None = None
    why: str = ""

    @property
    def fits(self) -> bool:
        return not self.why and self.memory <= self.has

    def command(self, recipe: Recipe, named: str, needed: Sequence[str] = ()) -> str:
        """The command that trains this way, from the recipe called ``named``; ``needed``: what the model needs set (`Planned.needed`)."""
        parts = ["textunlearn run", named, f"--model {recipe.model.id}"]
        wanted = {
            "method.name": (self.way.method, recipe.method.name),
            "training.full": (str(self.way.full).lower(), str(recipe.training.full).lower()),
            "model.dtype": (self.way.dtype, recipe.model.dtype),
            "model.quantize": ("4bit" if self.way.quantized else None, recipe.model.quantize),
            "training.accumulate": (self.accumulate, recipe.training.accumulate),
            "training.gradient_checkpointing": (
                str(self.checkpointing).lower(),
                str(recipe.training.gradient_checkpointing).lower(),
            ),
        }
        if self.why:  # it was not found out what it would take
            del wanted["training.accumulate"], wanted["training.gradient_checkpointing"]
        parts += [f"--set {change}" for change in needed]
        parts += [
            f"--set {key}={'null' if value is None else value}"
            for key, (value, there) in wanted.items()
            if value != there
        ]
        if self.way.processes > 1:
            parts.append(f"--processes {self.way.processes}")
        if self.way.spread == "split":
            parts.append("--shard")
        return " ".join(filter(None, parts))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "title": self.way.title, "fits": self.fits}


@dataclass(frozen=True, slots=True)
class Planned:
    """All estimates, what the model is, and what was assumed on the way."""

    model: str
    parameters: int
    language: int
    estimates: tuple[Estimate, ...]
    notes: tuple[str, ...]
    needed: tuple[str, ...] = ()
    """Changes to the recipe without which this model could not be trained by it."""


def ways(machine: Machine, recipe: Recipe, methods: Sequence[str]) -> list[Way]:
    """Every way to train on ``machine``; with several GPUs on one of them, on all with copies, and split over all."""
    dtypes = _dtypes(machine, recipe)
    spreads: list[tuple[Spread, int]] = [("one", 1)]
    if machine.count > 1:
        spreads += [("copies", machine.count), ("split", machine.count)]
    every = [
        Way(method, full, dtype, spread, count, quantized)
        for method in methods
        for full, quantized in ((False, False), (False, True), (True, False))
        for dtype in dtypes
        for spread, count in spreads
    ]
    # bitsandbytes' four bits are for GPUs, and for whole models
    return [
        one for one in every if not one.quantized or (machine.gpu and one.spread != "split" and one.dtype != "float32")
    ]


def _dtypes(machine: Machine, recipe: Recipe) -> list[str]:
    from textunlearn.vlm.load import fast_bf16

    if recipe.model.dtype != "auto":
        return [recipe.model.dtype]
    if machine.gpu is not None:
        return ["bfloat16" if machine.gpu.bfloat16 else "float16", "float32"]
    return ["bfloat16", "float32"] if fast_bf16() else ["float32"]


def plan(
    recipe: Recipe,
    machine: Machine,
    methods: Sequence[str] = (),
    price: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    only: Callable[[Way], bool] = lambda _: True,
) -> Planned:
    """What training by ``recipe`` would take on ``machine``, in every way.

    Args:
        methods: names of methods; empty: the recipe's.
        price: of an hour of the whole machine.
        progress: told how many of how many ways are done.
        only: which ways are wanted.

    UserError for a model that cannot be found or laid out, or brings code of its own.
    """
    look = _Look(recipe, machine)
    todo = [way for way in ways(machine, look.recipe, methods or [recipe.method.name]) if only(way)]
    done = []
    for number, way in enumerate(todo, start=1):
        done.append(_estimate(look, way, machine, price))
        if progress is not None:
            progress(number, len(todo))
    return Planned(recipe.model.id, look.parameters, look.language, tuple(done), tuple(look.notes), look.needed)


class _Look:
    """A model laid out on meta, as often as a way of its own is asked for; what is the same is looked at once."""

    def __init__(self, recipe: Recipe, machine: Machine) -> None:
        import psutil

        import textunlearn.planning.step  # noqa: F401 - the libraries that training needs
        from textunlearn.vlm.load import _where, config_of

        if recipe.model.trust_remote_code:
            raise UserError(
                "a model with code of its own cannot be planned: its code would have to run; set trust_remote_code to false"
            )
        self.machine, self.where, self.config = machine, _where(recipe.model), config_of(recipe.model)
        self.notes: list[str] = []
        self.needed: tuple[str, ...] = ()
        vlm, assumed = self._open(recipe, "float32")
        if assumed:
            self.notes.append(assumed)
        if vlm.image_token_id is None and (recipe.slots.share or recipe.pictures.share):
            self.notes.append("the model takes no images, so all rows are typed")
            self.needed = tuple(f"{part}.share=0" for part in ("slots", "pictures") if getattr(recipe, part).share)
            none = {"share": 0.0}
            recipe = recipe.model_copy(
                update={
                    "slots": recipe.slots.model_copy(update=none),
                    "pictures": recipe.pictures.model_copy(update=none),
                }
            )
        self.recipe = recipe
        self.parameters = sum(p.numel() for p in vlm.base.parameters())
        self.language = sum(p.numel() for p in vlm.decoder.parameters())
        # What this process holds now, it holds of libraries alone: a training loads the same.
        self.libraries = psutil.Process().memory_info().rss + WORKING

    def _open(self, recipe: Recipe, dtype: str) -> tuple[Any, str]:
        import torch

        from textunlearn.planning.rows import opened
        from textunlearn.planning.step import empty_model
        from textunlearn.vlm.roomy_cache import only_attends

        model = empty_model(self.config, getattr(torch, dtype))
        vlm, assumed = opened(model, recipe.model.id, self.where, self.config, revision=recipe.model.revision)
        vlm.__dict__["_packs"] = only_attends(self.config)  # the trial with numbers comes when it is trained
        return vlm, assumed

    @cache  # noqa: B019 - lives as long as a plan is made
    def footprint(self, method: str, full: bool, dtype: str, parts: int, again: bool) -> Footprint:
        """A step cut into ``parts`` micro-batches; ``again``: with activations computed again in the backward pass."""
        from textunlearn.planning.rows import stand_in_rows
        from textunlearn.planning.step import footprint, meta_reference
        from textunlearn.training.plan import Plan

        spec = self.recipe.training.model_copy(
            update={"full": full, "accumulate": parts, "gradient_checkpointing": again}
        )
        recipe = self.recipe.model_copy(update={"training": spec})
        vlm, _ = self._open(recipe, dtype)
        loss = METHODS.get(method)(**(recipe.method.settings if method == recipe.method.name else {}))
        rows = stand_in_rows(vlm, recipe, loss)
        per_step = {"harmful": spec.harmful_rows, "lookalike": spec.lookalike_rows, "ordinary": spec.ordinary_rows}
        rows_of_run = Plan(rows, per_step, spec.steps, parts, recipe.seed)
        gpu = self.machine.gpu is not None
        return footprint(vlm, recipe, loss, rows_of_run, meta_reference(vlm, rows_of_run, loss), gpu)


def _estimate(look: _Look, way: Way, machine: Machine, price: float | None) -> Estimate:
    """As the recipe has it; or with as many micro-batches as it takes to fit, and then with activations computed again."""
    spec = look.recipe.training
    rows = spec.harmful_rows + spec.lookalike_rows + spec.ordinary_rows
    need = spec.accumulate * way.processes
    if need > rows:
        why = f"a step has {rows} rows, and {need} are needed for {way.processes} processes; raise training.harmful_rows and its like"
        return Estimate(way, why=why if spec.accumulate == 1 else f"{why}, or lower training.accumulate")
    found: Estimate | None = None
    for again in (False, True) if not spec.gradient_checkpointing else (True,):
        for accumulate in _doubled(spec.accumulate, rows // way.processes):
            try:
                some = look.footprint(way.method, way.full, way.dtype, accumulate * way.processes, again)
            except UserError as error:
                return found or Estimate(way, why=str(error))
            found = _of(some, way, machine, look, accumulate, again, price)
            if found.fits:
                return found
            if found.weights + found.state > found.has:  # no cut of the rows would help
                return found
    assert found is not None
    return found


def _doubled(first: int, most: int) -> Iterator[int]:
    """``first``, twice that and so on, and ``most`` at last."""
    while first < most:
        yield first
        first *= 2
    yield most


def _of(
    some: Footprint, way: Way, machine: Machine, look: _Look, accumulate: int, again: bool, price: float | None
) -> Estimate:
    weights, state = float(some.weights), float(some.gradients + some.optimizer)
    activations = float(some.activations)
    if way.quantized:
        weights -= some.linear * (1 - FOUR_BITS)
    if way.spread == "copies":
        state += some.gradients  # DDP's buckets
    if way.spread == "split":
        # Each process has its part, and the layer at work whole with the next one on its way; what is trained lies in the layers.
        offload = look.recipe.training.offload  # the parts lie in main memory, and only the layers at work are here
        part = 0.0 if offload else some.split / way.processes
        weights += min(part + 2 * some.largest, some.split) - some.split
        state = 0.0 if offload else state / way.processes
    live = weights + state + activations
    has, rate, use = _machine(machine, way.dtype)
    libraries = CONTEXT + live * ALLOCATOR if machine.gpu else some.reference + look.libraries
    memory = live + libraries
    step = some.flops
    seconds = step * look.recipe.training.steps / (rate * use * way.processes)
    cost = None if price is None else price * seconds / 3600
    return Estimate(way, memory, has, weights, state, activations, libraries, accumulate, again, step, seconds, cost)


@cache
def _machine(machine: Machine, dtype: str) -> tuple[float, float, float]:
    """Bytes there are, FLOP/s at most, and the share of them that a step reaches."""
    gpu: Gpu | None = machine.gpu
    if gpu is not None:
        return gpu.memory, gpu.rate(dtype), GPU_USE
    from textunlearn.environment import memory

    return float(memory()[0]), cpu_rate(dtype), CPU_USE
