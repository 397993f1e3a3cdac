"""Freed blocks go back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

HOLDS = """
import sys
import torch, psutil
from textunlearn.training.allocator import return_large_blocks
if sys.argv[1] == "set":
    assert return_large_blocks()
torch.ones(6 << 20)  # 24 MB: glibc takes blocks up to this from its heap from now on
before = psutil.Process().memory_info().rss
held = [torch.ones(2 << 20) for _ in range(20)]
last = torch.ones(2 << 20)  # at the top, so that the heap cannot shrink
del held
print((psutil.Process().memory_info().rss - before) >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_a_freed_block_is_given_back() -> None:
    held = {
        way: int(subprocess.run([sys.executable, "-c", HOLDS, way], check=True, capture_output=True, text=True).stdout)
        for way in ("set", "as it is")
    }
    assert held["set"] < 20 < held["as it is"]
