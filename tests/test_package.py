"""The wheel: everything the program reads and nothing beside it, the same version everywhere, and it starts from where it was installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from textunlearn import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in path.as_posix()
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as pip builds it, from a copy: building leaves folders behind."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        out,
        copy,
    ]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    info = {name for name in names if ".dist-info/" in name}
    assert names - info == files(ROOT / "src")
    assert "textunlearn/py.typed" in names and any(name.endswith(".safetensors") for name in names)
    assert {Path(name).name for name in info} >= {"METADATA", "LICENSE", "NOTICE", "entry_points.txt"}
    assert not [name for name in names if name.endswith((".pt", ".pth", ".pkl", ".bin", ".pickle"))]


def test_starts_from_where_it_was_installed(wheel: Path, tmp_path: Path) -> None:
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--target",
        tmp_path / "site",
        wheel,
    ]
    subprocess.run(install, check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import textunlearn, sys; print(textunlearn.__file__); from textunlearn.cli import main; sys.argv[1:] = ['recipe']; main()"
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(str(tmp_path / "site")) and "quickstart" in said.stdout


def test_one_version(wheel: Path) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["dynamic"] == ["version"]
    assert citation["version"] == __version__ == wheel.name.split("-")[1]
    assert citation["license"] == PROJECT["license"] and citation["title"] == PROJECT["name"]
    assert {"cff-version", "message", "authors"} <= set(citation)


def test_changes_are_kept_in_the_form_they_name() -> None:
    headings = re.findall(r"^(#{1,3}) (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    versions = [text for level, text in headings if level == "##"]
    assert versions[0] == "Unreleased"
    assert all(re.fullmatch(r"\[?\d+\.\d+\.\d+\]? - \d{4}-\d{2}-\d{2}", text) for text in versions[1:])
    kinds = {text for level, text in headings if level == "###"}
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
