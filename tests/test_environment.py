"""What surrounds a run: the folder's lock, what the result was made with, progress."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from rich.console import Console

import textunlearn
from textunlearn.environment import PACKAGES, describe, energy_joules, peak_memory
from textunlearn.errors import UserError
from textunlearn.lock import claim
from textunlearn.progress import bar
from textunlearn.recipe import ModelSpec


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    held = claim(tmp_path)
    with pytest.raises(UserError, match="another textunlearn process") as error:
        claim(tmp_path)
    assert str(tmp_path) in str(error.value)
    held.close()
    claim(tmp_path).close()


@pytest.mark.skipif(os.name != "posix", reason="kills a process by signal")
def test_a_killed_process_frees_the_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from textunlearn.lock import claim; "
        "file = claim(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=r"another textunlearn process is working in .*; wait for it"):
            claim(tmp_path)
        process.kill()
    claim(tmp_path).close()


def test_a_result_says_what_it_was_made_with_but_not_by_whom() -> None:
    about = describe(ModelSpec(id="some/model", dtype="bfloat16", device="cpu"))
    assert (about["model"], about["device"], about["dtype"]) == ("some/model", "cpu", "bfloat16")
    versions = about["versions"]
    assert set(versions) == {"python", *PACKAGES} and versions["numpy"] == np.__version__
    assert versions["textunlearn"] in (textunlearn.__version__, "not installed as a package")
    assert about["machine"]["cores"] >= 1 and about["machine"]["memory_gb"] > 0
    said = json.dumps(about)
    for private in (os.uname().nodename if hasattr(os, "uname") else "", str(Path.home())):
        assert len(private) < 4 or private not in said


def test_peak_memory_is_in_bytes_and_only_grows() -> None:
    if torch.cuda.is_available():
        pytest.skip("on a GPU its memory is meant")
    now = psutil.Process().memory_info().rss
    peak = peak_memory()
    assert 0.9 * now < peak < 100 * now
    assert peak_memory() >= peak


def test_a_bar_counts() -> None:
    out = io.StringIO()
    with bar(Console(file=out, width=100), "answers") as progress:
        progress.set(3, 8)
        progress.add(2)
    assert "answers" in out.getvalue() and "5/8" in out.getvalue()


def zone(folder: Path, name: str, microjoules: int, largest: int = 1_000_000_000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file, value in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", largest)):
        (folder / file).write_text(f"{value}\n", encoding="ascii")
    return folder


def test_energy_is_that_of_all_packages_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    zone(tmp_path / "intel-rapl:0", "package-0", 3_000_000)
    zone(tmp_path / "intel-rapl:1", "package-1", 4_500_000)
    zone(tmp_path / "intel-rapl:0:0", "core", 2_000_000)  # a part of the package
    zone(tmp_path / "intel-rapl:2", "psys", 50_000_000)  # the whole board
    zone(tmp_path / "intel-rapl-mmio:0", "package-0", 3_000_000)  # the same counter by another way
    assert energy_joules(tmp_path) == pytest.approx(7.5)
    zone(tmp_path / "intel-rapl:1", "package-1", 6_000_000)
    assert energy_joules(tmp_path) == pytest.approx(9.0)


def test_energy_grows_when_a_counter_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    readings = []
    for counter in (9_000_000, 9_500_000, 500_000, 2_500_000, 1_000_000):
        zone(tmp_path / "intel-rapl:0", "package-0", counter, largest=10_000_000)
        readings.append(energy_joules(tmp_path))
    assert readings == pytest.approx([9.0, 9.5, 10.5, 12.5, 21.0])


def test_a_machine_that_does_not_report_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert energy_joules(tmp_path / "none") is None
    (zone(tmp_path / "intel-rapl:0", "package-0", 1) / "energy_uj").unlink()
    assert energy_joules(tmp_path) is None


def test_energy_of_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path / "intel-rapl:0", "package-0", 3_000_000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: types.SimpleNamespace(uuid=f"{i}{i}"))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy_joules(tmp_path) is None, "the processors alone would hide the GPUs' part"
    used = {"GPU-00": 2_000, "GPU-11": 5_000, "GPU-22": 100_000}  # the third is not ours
    fake = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda name: name,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: used[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert energy_joules(tmp_path) == pytest.approx(10.0)
    assert energy_joules(tmp_path / "none") == pytest.approx(7.0)
