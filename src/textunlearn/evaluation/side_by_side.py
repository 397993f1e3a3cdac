"""Parts of a batch at once, each on its share of the CPU's threads.

Most operations of a token are too small to be worth spreading over threads, and wait for each other at every end. Parts of a batch need
not wait: with two threads, two halves side by side answer more a second than one batch on both (`benchmarks/speed/attention.py` and
`benchmarks/throughput.py` measure what that is here). The weights are the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from textunlearn.vlm.load import Vlm

T = TypeVar("T")
R = TypeVar("R")

MOST = 4
"""Parts at most; with more, they wait for Python and for memory."""
ROWS = 8
"""Rows of a part at least: with fewer, reading the weights takes longer than multiplying by them."""


def parts_for(vlm: Vlm, rows: int) -> int:
    """How many parts a batch of so many rows is worth: 1 on GPUs, and for models that keep something of a batch between forwards."""
    import torch

    keeps = any(
        hasattr(module, "rope_deltas") for module in vlm.base.modules()
    )  # Qwen2-VL and its kin: how pictures shift positions
    if vlm.device.type != "cpu" or vlm.sharded or keeps:
        return 1
    return max(1, min(MOST, torch.get_num_threads(), rows // ROWS))


def side_by_side(items: Sequence[T], parts: int, work: Callable[[Sequence[T]], Sequence[R]]) -> list[R]:
    """``work`` of ``items``, one result each and in their order, in ``parts`` at once. A part is every ``parts``-th item, so that all have
    as much to do.

    What one of them raises is raised here, once all have ended.
    """
    import torch

    if parts == 1:
        return list(work(items))
    threads = torch.get_num_threads()
    each = max(1, threads // parts)
    try:
        with ThreadPoolExecutor(parts, initializer=torch.set_num_threads, initargs=(each,)) as pool:
            found = list(pool.map(work, [items[part::parts] for part in range(parts)]))
    finally:
        torch.set_num_threads(threads)  # what a part set holds for threads to come as well
    out: list[R | None] = [None] * len(items)
    for part, results in enumerate(found):
        out[part::parts] = results
    return [one for one in out if one is not None]
