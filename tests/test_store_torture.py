"""The store under SIGKILL, in short; `benchmarks/store_torture.py` does it with 10,000 cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks/store_torture.py"


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_runs_lose_and_repeat_nothing() -> None:
    command = [sys.executable, str(SCRIPT), "--cases", "300", "--every", "1", "--delay", "0.2", "--seconds", "300"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    counts = json.loads(ran.stdout)
    assert counts["done"] and counts["kills"] >= 2
    assert counts["lost"] == counts["stored_twice"] == counts["wrong"] == counts["asked_again_though_stored"] == 0
    assert counts["in_flight_at_kills"] <= counts["kills"] * 16
