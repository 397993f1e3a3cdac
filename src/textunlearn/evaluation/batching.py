"""How many rows are generated at once: doubled while memory has room for it, halved where it had not.

Greedy answers in float32 do not depend on it (tests hold batches against single rows). In half precision another batch can decide a
near tie between two tokens the other way, as it can when an evaluation that was stopped goes on with what is left; `batch_size` of a
recipe fixes the size.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from textunlearn.vlm.load import Vlm

T = TypeVar("T")

BATCH = 64
"""Rows to begin with, where nothing is known of memory or there is enough of it."""
MOST = {"cuda": 512}
"""Rows at most, by kind of device. On CPUs more than `BATCH` are no faster: the built-in model's took 0.087 s a row at 32 and 0.090 s at
64, and their keys and values no longer fit its caches."""
SPARE = 0.5
"""Share of the free memory that may be planned with: others want some, and rows to come are longer."""


def in_batches(
    order: Sequence[int],
    size: int | None,
    alike: Callable[[int], Hashable],
    work: Callable[[list[int]], T],
    vlm: Vlm | None = None,
) -> Iterator[tuple[list[int], T]]:
    """``(indices, work(indices))`` of ``order`` piece by piece: neighbours that are ``alike``, at most ``size`` of them.

    Without ``size`` it begins with what the memory beside ``vlm`` is good for, and is doubled after a full batch that took so little that
    twice the rows fit. A size that memory did not suffice for is halved, and never tried again.
    """
    import torch

    grows = size is None and vlm is not None
    most = MOST.get(vlm.device.type, BATCH) if vlm is not None else BATCH
    size = size or (first_size(vlm) if vlm is not None else BATCH)
    before = memory(vlm.device) if grows and vlm is not None else None
    waiting = list(order)
    while waiting:
        some = [i for i in waiting[:size] if alike(i) == alike(waiting[0])]
        try:
            done = work(some)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if size == 1 or not out_of_memory(error):
                raise
            size, grows = max(1, size // 2), False
            continue
        waiting = waiting[len(some) :]
        yield some, done
        if grows and before and vlm is not None and len(some) == size and 2 * size <= most:
            now = memory(vlm.device)
            if now and now[1] - before[1] <= SPARE * now[0]:
                size *= 2


def first_size(vlm: Vlm) -> int:
    """Rows to begin with: `BATCH`, or a half of it and so on where memory is short. `BATCH` rows are taken to need as much again as
    the weights, which holds for answers of usual length."""
    now = memory(vlm.device)
    weights = sum(weight.nbytes for weight in vlm.base.parameters())
    size = BATCH
    while now and size > 1 and weights * size / BATCH > SPARE * now[0]:
        size //= 2
    return size


def memory(device: Any) -> tuple[int, int] | None:
    """Bytes that are free there, and the most that was taken so far; None where this cannot be told."""
    look = _MEMORY.get(device.type)
    return look(device) if look is not None else None


def _cuda(device: Any) -> tuple[int, int]:
    import torch

    free, whole = torch.cuda.mem_get_info(device)
    return free, whole - free  # PyTorch keeps what it took, so this is its peak


def _mps(device: Any) -> tuple[int, int]:
    import torch

    taken = torch.mps.driver_allocated_memory()
    return max(0, torch.mps.recommended_max_memory() - taken), taken


def _cpu(device: Any) -> tuple[int, int]:
    import psutil

    from textunlearn.environment import peak_rss

    return psutil.virtual_memory().available, peak_rss()


_MEMORY: dict[str, Callable[[Any], tuple[int, int]]] = {"cuda": _cuda, "mps": _mps, "cpu": _cpu}


def out_of_memory(error: Exception) -> bool:
    """Whether an error of PyTorch says that memory did not suffice; on CPUs it has no type of its own."""
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "alloc" in text
