"""Memory of the C library on CPUs: what a step frees goes back."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
"""mallopt(3)."""
LARGE = 1 << 20
"""Bytes from which a block is the system's own, not a piece of the heap."""


def return_large_blocks() -> bool:
    """Let glibc give every large block back when it is freed; False where there is no glibc.

    On its own glibc raises the size from which it does so to that of the largest block freed so far. Activations then lie in one heap, in
    whose gaps nothing of another size fits: with long rows a step held half as much again as it used. The time is the same.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE) == 1
