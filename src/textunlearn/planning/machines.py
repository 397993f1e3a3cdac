"""Machines to plan for: ``cpu`` is this one, ``8xH100`` or ``1x24GB`` need not be here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from textunlearn.errors import UserError

CONTEXT = 1.3e9
"""Bytes of a GPU that CUDA's context and its kernels take before a tensor is there: what transformers' guide to the memory of
training finds ("the kernels alone take up 1.3GB"); less on some GPUs."""
ALLOCATOR = 0.1
"""Share of the live bytes that PyTorch's caching allocator holds beyond them, since it rounds up and cannot always use its gaps.
Assumed: it depends on the order of sizes, and no GPU was here to measure it."""
GPU_USE = 0.3
"""Share of a GPU's peak that a step reaches. Assumed: published trainings of whole models reach 0.3 to 0.5, with large batches."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU by its maker's data sheet: bytes of memory, dense FLOP/s on tensor cores in half precision (accumulated in
    float32), FLOP/s in float32, and whether its half precision is bfloat16."""

    name: str
    memory: float
    half: float
    single: float
    bfloat16: bool = True

    def rate(self, dtype: str) -> float:
        """Peak FLOP/s in ``dtype``."""
        return self.single if dtype == "float32" else self.half


GPUS: tuple[Gpu, ...] = (
    Gpu("T4", 16e9, 65e12, 8.1e12, bfloat16=False),
    Gpu("L4", 24e9, 121e12, 30.3e12),
    Gpu("A10", 24e9, 125e12, 31.2e12),
    Gpu("RTX3090", 24e9, 71e12, 35.6e12),
    Gpu("RTX4090", 24e9, 165e12, 82.6e12),
    Gpu("A100-40GB", 40e9, 312e12, 19.5e12),
    Gpu("L40S", 48e9, 362e12, 91.6e12),
    Gpu("A100", 80e9, 312e12, 19.5e12),
    Gpu("H100", 80e9, 989e12, 67e12),
    Gpu("H200", 141e9, 989e12, 67e12),
    Gpu("B200", 180e9, 2250e12, 75e12),
)
"""From NVIDIA's data sheets; where those name the rate with sparsity, half of it."""
_STANDS_FOR = ("T4", "L4", "A100-40GB", "L40S", "A100", "H200", "B200")
"""What a GPU is taken for of which only the memory is known: the slowest common one with as much, or with less than the next."""


@dataclass(frozen=True, slots=True)
class Machine:
    """``count`` GPUs of one kind; none: this machine's processor. ``assumed``: only the memory was named."""

    count: int
    gpu: Gpu | None
    assumed: bool = False

    @property
    def name(self) -> str:
        if self.gpu is None:
            return "this machine's processor"
        what = f"{self.gpu.memory / 1e9:.0f} GB" if self.assumed else self.gpu.name
        return f"{self.count} × {what}"


def machine(text: str) -> Machine:
    """The machine that ``text`` names: ``cpu``, ``24GB``, ``1x24GB``, ``8xH100``. UserError for anything else."""
    found = re.fullmatch(r"(?:(\d+)\s*[x×])?\s*(.+)", text.strip(), re.IGNORECASE)
    kinds = {_plain(gpu.name): gpu for gpu in GPUS}
    if found is None:
        raise UserError(_unknown(text))
    count, what = int(found[1] or 1), _plain(found[2])
    if what == "cpu" and count == 1:
        return Machine(1, None)
    if count < 1:
        raise UserError(f"--gpus {text}: name at least one GPU, or cpu")
    if gpu := kinds.get(what):
        return Machine(count, gpu)
    memory = re.fullmatch(r"(\d+(?:\.\d+)?)gi?b?", what)
    if memory is None or float(memory[1]) <= 0:
        raise UserError(_unknown(text))
    size = float(memory[1]) * 1e9
    stands = [gpu for gpu in GPUS if gpu.name in _STANDS_FOR and gpu.memory <= size]
    like = stands[-1] if stands else GPUS[0]
    return Machine(count, Gpu(like.name, size, like.half, like.single, like.bfloat16), assumed=True)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _unknown(text: str) -> str:
    known = ", ".join(gpu.name for gpu in GPUS)
    return (
        f"--gpus {text} names no machine that is known here; give cpu, a memory such as 1x24GB, or N x one of {known}"
    )


def cpu_rate(dtype: str, seconds: float = 0.3) -> float:
    """FLOP/s that this processor reaches in a product of matrices of a language model's size, measured now, with PyTorch's threads."""
    import time

    import torch

    kind = getattr(torch, dtype)
    rows, left, right = 256, torch.ones(256, 2048, dtype=kind), torch.ones(2048, 2048, dtype=kind)
    with torch.inference_mode():
        torch.nn.functional.linear(left, right)  # the first one makes kernels
        started, times = time.perf_counter(), 0
        while times < 2 or time.perf_counter() - started < seconds:
            torch.nn.functional.linear(left, right)
            times += 1
        spent = time.perf_counter() - started
    return 2 * rows * left.shape[1] * right.shape[0] * times / spent
