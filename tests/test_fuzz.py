"""The fuzzer in short: no target fails on a few dozen damaged files, and a fault that is there is found, made small and kept."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

import fuzz
from fuzz import Target, attempt, mutated, run, save
from textunlearn.errors import UserError


def test_damaged_files_are_read_or_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fuzz_targets import make_targets

    pytest.importorskip("pyarrow")
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    targets = make_targets(tmp_path / "layouts")
    found = run(targets, tmp_path / "work", inputs=25)
    assert not found.finds, [f"{find.what} {find.where}\n{find.trace}" for find in found.finds.values()]
    assert set(found.tried.values()) == {25}
    assert all(found.read[name] and found.refused[name] for name in targets), "both happen, or nothing is tested"


def test_a_fault_is_found_made_small_and_kept(tmp_path: Path) -> None:
    def reads(path: Path) -> None:
        data = path.read_bytes()
        if b"\0" in data:
            raise UserError("a.txt holds a NUL; take it out")
        if b"[[" in data:
            raise KeyError("brackets")

    targets = {"x": Target((("a.txt", b"How do I bake a good loaf of bread at home?" * 20),), reads)}
    found = run(targets, tmp_path / "work", inputs=400)
    (find,) = found.finds.values()
    assert find.data == b"[[" and "KeyError" in find.where and found.refused["x"] and found.read["x"]
    assert (
        save(find, tmp_path / "finds").read_bytes() == b"[["
        and "brackets" in (tmp_path / f"finds/{find.file}.txt").read_text()
    )
    assert run(targets, tmp_path / "work", inputs=400).finds == found.finds, "the same seed, the same files"
    assert mutated(b"abc", b"", random.Random(1)) != mutated(b"abc", b"", random.Random(2))


def test_what_never_ends_and_what_is_no_line_are_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 1)

    def sleeps(path: Path) -> None:
        with contextlib.suppress(Exception):  # a reader may swallow whatever it likes
            time.sleep(30)

    late = attempt("x", sleeps, tmp_path / "a", b"")
    assert isinstance(late, fuzz.Find) and "TooLong" in late.where

    def says(path: Path) -> None:
        error = UserError("x")
        error.args = ("two\nlines",)
        raise error

    assert isinstance(attempt("x", says, tmp_path / "a", b""), fuzz.Find)
