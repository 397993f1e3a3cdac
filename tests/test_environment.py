"""What surrounds a run: the folder's lock, what the result was made with, progress."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from rich.console import Console

import textunlearn
from textunlearn.environment import PACKAGES, describe, peak_memory
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
        with pytest.raises(UserError, match="another textunlearn process"):
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
