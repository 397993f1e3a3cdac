"""`tests/torture.py` in short: a few strikes on a training and an export, and that the campaign sees what is wrong."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import torture_process
import torture_state

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign forks and reads /proc")
SCRIPT = Path(__file__).parent / "torture.py"


def test_struck_verbs_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """One process: it imports once and forks whatever it strikes."""
    out = tmp_path / "torture.json"
    command = [sys.executable, str(SCRIPT), "--points", "4", "--verb", "unlearn", "--verb", "export", "--out", str(out)]
    ran = subprocess.run([*command, "--minutes", "1"], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    trials = json.loads(out.read_text(encoding="utf-8"))["trials"]
    assert set(trials) == {"unlearn", "export"}
    for some in trials.values():
        assert sum(strike["landed"] for trial in some for strike in trial["strikes"]) >= 1, ran.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run/answers").mkdir(parents=True)
    (tmp_path / "run/answers/after.jsonl").write_text("one\ntwo\nhal")
    (tmp_path / "run/metrics.json").write_text('{"a": 1, "cost": 2}')
    return tmp_path


def test_it_sees_what_is_lost(folder: Path) -> None:
    before = torture_state.finished(folder)
    assert not torture_state.lost(before, torture_state.finished(folder))
    (folder / "run/answers/after.jsonl").write_text("one\nother\n")
    (folder / "run/metrics.json").unlink()
    assert torture_state.lost(before, torture_state.finished(folder)) == [
        "run/metrics.json is gone",
        "run/answers/after.jsonl lost lines",
    ]


def test_it_sees_a_checkpoint_that_went_back(folder: Path) -> None:
    for step in (2, 4):
        (folder / f"run/checkpoints/checkpoint-{step}").mkdir(parents=True)
        (folder / f"run/checkpoints/checkpoint-{step}/whole").touch()
    before = torture_state.finished(folder)
    (folder / "run/checkpoints/checkpoint-4/whole").unlink()
    assert torture_state.lost(before, torture_state.finished(folder)) == ["run/checkpoints went back from step 4"]
    (folder / "run/trained.json").touch()
    assert not torture_state.lost(before, torture_state.finished(folder)), "they go once the training is kept"


def test_it_sees_another_end(folder: Path) -> None:
    wanted = torture_state.result(folder)
    (folder / "run/metrics.json").write_text('{"a": 1, "cost": 3}')
    assert not torture_state.differences(wanted, torture_state.result(folder))
    (folder / "run/metrics.json").write_text('{"a": 2, "cost": 2}')
    (folder / "run/.partial.x").touch()
    (folder / "run/answers/after.jsonl").unlink()
    assert torture_state.differences(wanted, torture_state.result(folder)) == [
        "run/.partial.x is left behind",
        "run/answers/after.jsonl is missing in the end",
        "run/metrics.json ends otherwise",
    ]


def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(tmp_path: Path) -> None:
    names = ("synced", "grown", "never", "old")
    for name in names:
        (tmp_path / name).write_bytes(b"0123456789")
    inode = {name: (tmp_path / name).stat().st_ino for name in names}
    seen = torture_process.Seen(synced={inode["synced"]: 10, inode["grown"]: 4})
    assert torture_process.tear(tmp_path, seen, {inode["old"]: 10}, random.Random(0)) == 2
    left = {name: os.path.getsize(tmp_path / name) for name in names}
    assert (left["synced"], left["old"]) == (10, 10) and 4 <= left["grown"] < 10 and left["never"] < 10
