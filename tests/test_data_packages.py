"""Packages: fetched once, checked against their hash, unpacked safely. Wheels are built here; no network."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from textunlearn.data import packages, pins
from textunlearn.data.packages import WHEELS, Package, fetch
from textunlearn.errors import UserError

FILES = {
    "made_up/data/a.txt": b"one",
    "made_up/data/b.txt": b"two" * 1000,
    "made_up/__init__.py": b"raise SystemExit(1)",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "made_up-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    monkeypatch.setenv(WHEELS, str(wheels))
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    members = ("made_up/data/a.txt", "made_up/data/b.txt")
    return Package("made-up", "1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), members, "MIT")


def changed(package: Package, **values: object) -> Package:
    return Package(**{name: values.get(name, getattr(package, name)) for name in Package.__slots__})  # type: ignore[arg-type]


def test_only_the_members_are_unpacked_and_only_once(package: Package, tmp_path: Path) -> None:
    folder = fetch(package)
    unpacked = {str(path.relative_to(folder)) for path in folder.rglob("*.*") if not path.name.startswith(".")}
    assert unpacked == set(package.members)
    assert (folder / "made_up/data/b.txt").read_bytes() == FILES["made_up/data/b.txt"]
    shutil.rmtree(tmp_path / "wheels")
    assert fetch(package) == folder
    assert os.listdir(folder.parent) == [folder.name], "temporary folders are gone"


@pytest.mark.parametrize("damage", ["cut short", "deleted", "no marker"])
def test_a_damaged_copy_is_unpacked_again(package: Package, damage: str) -> None:
    folder = fetch(package)
    victim = folder / "made_up/data/b.txt"
    if damage == "cut short":
        victim.write_bytes(b"tw")
    elif damage == "deleted":
        victim.unlink()
    else:
        next(folder.glob(".complete*")).unlink()
    assert (fetch(package) / "made_up/data/b.txt").read_bytes() == FILES["made_up/data/b.txt"]


def test_other_members_of_the_same_wheel_are_another_copy(package: Package) -> None:
    fetch(package)
    more = changed(package, members=("made_up/__init__.py",))
    assert (fetch(more) / "made_up/__init__.py").exists()


def test_wrong_hash_names_both_and_unpacks_nothing(package: Package, tmp_path: Path) -> None:
    wrong = changed(package, sha256="0" * 64)
    with pytest.raises(UserError, match=f"expected {'0' * 64}, got {package.sha256}"):
        fetch(wrong)
    assert not list((tmp_path / "cache").rglob("*.txt"))


@pytest.mark.parametrize("member", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:/evil.txt", ""])
def test_a_member_that_leaves_the_folder_is_refused(package: Package, tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "wheels" / "made_up-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr(member or "x", b"evil")
    data = (tmp_path / "wheels" / "made_up-1.0-py3-none-any.whl").read_bytes()
    with pytest.raises(UserError, match="outside its folder"):
        fetch(changed(package, members=(member,), sha256=hashlib.sha256(data).hexdigest()))
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_member_that_is_not_there(package: Package) -> None:
    with pytest.raises(UserError, match=r"no item named 'made_up/none\.txt'"):
        fetch(changed(package, members=("made_up/none.txt",)))


def test_a_wheel_that_is_no_archive(package: Package, tmp_path: Path) -> None:
    (tmp_path / "wheels" / "made_up-1.0-py3-none-any.whl").write_bytes(b"not a zip")
    with pytest.raises(UserError, match="damaged"):
        fetch(changed(package, sha256=hashlib.sha256(b"not a zip").hexdigest()))


def test_a_wheel_folder_without_the_wheel_says_how_to_get_it(package: Package) -> None:
    with pytest.raises(UserError, match=r"made_up-2\.0-.*pip download --no-deps made-up==2\.0"):
        fetch(changed(package, version="2.0"))


def test_full_disk(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packages.shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=r"is full.*free some space"):
        fetch(package)


def fake_pip(monkeypatch: pytest.MonkeyPatch, stderr: str, code: int = 1) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.delenv(WHEELS)
    monkeypatch.setattr(packages.subprocess, "run", run)
    return calls


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (f"{sys.executable}: No module named pip\n", "ensurepip"),
        (
            "WARNING: Retrying\nERROR: No matching distribution found for made-up==1.0\n",
            r"\(pip: No matching distribution",
        ),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n", "is full"),
        ("ERROR: https://user:secret@index.example/simple refused\n", r"pip: https://index\.example/simple refused"),
    ],
)
def test_pip_errors_are_one_sentence(
    package: Package, monkeypatch: pytest.MonkeyPatch, stderr: str, message: str
) -> None:
    fake_pip(monkeypatch, stderr)
    with pytest.raises(UserError, match=message) as caught:
        fetch(package)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_pip_is_asked_for_the_pinned_wheel_without_dependencies(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_pip(monkeypatch, "ERROR: none\n")
    with pytest.raises(UserError):
        fetch(package)
    (command,) = calls
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert command[-1] == "made-up==1.0" and "--no-deps" in command and "--only-binary" in command


def _fetch_and_report(package: Package, gate: object, queue: object) -> None:
    gate.wait()  # type: ignore[attr-defined]
    queue.put(str(fetch(package)))  # type: ignore[attr-defined]


def test_two_processes_at_once(package: Package) -> None:
    context = multiprocessing.get_context("spawn")
    gate, queue = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_fetch_and_report, args=(package, gate, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    folders = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(folders) == 1 and all(worker.exitcode == 0 for worker in workers)
    assert (Path(folders.pop()) / "made_up/data/a.txt").read_bytes() == b"one"


def test_losing_the_race_keeps_the_winners_copy(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack = packages._unpack

    def slow(package: Package, wheel: Path, folder: Path) -> None:
        unpack(package, wheel, folder)
        monkeypatch.setattr(packages, "_unpack", unpack)
        winner = fetch(package)
        (winner / "won").touch()

    monkeypatch.setattr(packages, "_unpack", slow)
    assert (fetch(package) / "won").exists()


def test_the_pins_are_well_formed() -> None:
    for package in pins.ALL:
        assert len(package.sha256) == 64 and int(package.sha256, 16)
        assert package.members and package.licence and package.homepage.startswith("https://")
    assert any(member.startswith(pins.MINILM_FOLDER + "/") for member in pins.MINILM.members)
