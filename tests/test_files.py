"""Files that outlive crashes, power cuts and full disks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import job_run
from textunlearn import files
from textunlearn.errors import UserError
from textunlearn.files import append_records, atomic, read_records, require_space, sweep, write_text
from textunlearn.job import Job
from textunlearn.records import Answer
from textunlearn.vlm.export import fresh


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry, name, part in job_run.stand_ins():
        monkeypatch.setitem(registry, name, part)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Inodes of what was synced, in order."""
    real, seen = os.fsync, []

    def fsync(handle: int) -> None:
        seen.append(os.fstat(handle).st_ino)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX only")
def test_a_file_is_on_the_disk_before_it_has_its_name_and_then_its_name(tmp_path: Path, synced: list[int]) -> None:
    write_text(tmp_path / "a", "words")
    assert synced == [(tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX only")
def test_a_store_is_on_the_disk_line_by_line_and_its_name_once(tmp_path: Path, synced: list[int]) -> None:
    store = tmp_path / "answers.jsonl"
    for case in "ab":
        append_records(store, [Answer(case, "said", 1, True)])
    file, folder = store.stat().st_ino, tmp_path.stat().st_ino
    assert synced == [file, folder, file]


def test_what_a_kill_left_half_is_swept_by_the_next_run(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "data/a.jsonl") as temporary:
        left = tmp_path / f"data/{temporary.name}"
        shutil.copy(temporary, tmp_path / "data/kept")
        raise KeyboardInterrupt
    assert not left.exists()
    left.write_text("half")  # what a SIGKILL there leaves
    Job(tmp_path, job_run.recipe(tmp_path, tmp_path), job_run.quiet()).close()
    assert not left.exists() and (tmp_path / "data/kept").exists()
    sweep(tmp_path / "nowhere")


def test_a_disk_that_is_nearly_full_is_told_before_work_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    require_space(tmp_path, 3_000_000, "the model")
    with pytest.raises(
        UserError, match=r"the model needs about 4 MB on the disk of .* and 3 MB are free; free some space"
    ):
        require_space(tmp_path, 4_000_000, "the model")
    recipe = job_run.recipe(tmp_path, tmp_path)
    with pytest.raises(UserError, match="free some space and run the same command again"):
        Job(tmp_path / "run", recipe, job_run.quiet())
    monkeypatch.undo()
    Job(tmp_path / "run", recipe, job_run.quiet()).close()  # the lock was let go


def test_an_export_takes_away_what_a_killed_one_left(tmp_path: Path) -> None:
    target, left = tmp_path / "out", tmp_path / f"{files.PARTIAL}out"
    (left / "deep").mkdir(parents=True)
    (left / "deep/model.safetensors").write_text("half")
    with fresh(target) as partial:
        assert partial == left and not (left / "deep").exists()
        (partial / "whole").write_text("whole")
        with pytest.raises(UserError, match="another textunlearn process"), fresh(target):
            pass
    assert [path.name for path in target.iterdir()] == ["whole"] and not left.exists()


def test_a_torn_line_is_cut_off_and_no_other(tmp_path: Path) -> None:
    store = tmp_path / "answers.jsonl"
    append_records(store, [Answer("a", "é", 1, True)])
    whole = store.read_bytes()
    store.write_bytes(whole + whole[:-20])
    assert [a.case for a in read_records(store, Answer)] == ["a"]
    append_records(store, [Answer("b", "é", 1, True)])
    assert [a.case for a in read_records(store, Answer)] == ["a", "b"]
