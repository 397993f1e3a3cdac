"""The store under SIGKILL, in short; `benchmarks/store_torture.py` does it with 10,000 cases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from endpoint_server import Asked, Said, echo, serve
from stopping import as_in_a_terminal

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


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_ctrl_c_does_not_wait_for_the_endpoint(tmp_path: Path) -> None:
    asked_for, never = threading.Event(), threading.Event()

    def silent(asked: Asked) -> Said:
        asked_for.set()
        never.wait(100)
        return echo(asked)

    with serve(silent) as served:
        command = [sys.executable, str(SCRIPT), "--cases", "50", "--child", served.url, str(tmp_path / "s.jsonl")]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=as_in_a_terminal
        ) as process:
            assert asked_for.wait(100)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)  # the requests would take longer
        never.set()
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
