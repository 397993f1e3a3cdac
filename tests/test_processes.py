"""Training in several processes: they agree, it is the same training as in one, and it goes on in another number of them."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import job_run
import processes_child
from textunlearn import processes
from textunlearn.cli.shared import job_of
from textunlearn.errors import UserError
from textunlearn.job import Job
from textunlearn.recipe import Recipe
from textunlearn.shell import Terminated
from textunlearn.training import worker
from textunlearn.training.watch import Watch

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")


def test_what_processes_tell_each_other(tmp_path: Path) -> None:
    processes.start(2, processes_child.talk, str(tmp_path))
    heard = [ast.literal_eval((tmp_path / str(number)).read_text(encoding="utf-8")) for number in range(2)]
    assert heard[0] == heard[1]
    assert heard[0] == {
        "first": "from 0",
        "all": [0, 1],
        "total": {"both": 3.0, "one": 5.0},
        "joined": [10, 20, 30, 40, 50],
    }


def test_a_sentence_for_the_user_reaches_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^there is no flour: buy some$"):
        processes.start(2, processes_child.complain, str(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_stops_all_of_them(tmp_path: Path, number: signal.Signals, raised: type[BaseException]) -> None:
    def send() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    before = signal.getsignal(number)
    with pytest.raises(raised):
        processes.start(2, processes_child.wait, str(tmp_path))
    assert signal.getsignal(number) is before
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


def test_each_process_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    processes.require_devices("cuda", 2)
    processes.require_devices("cpu", 3)
    with pytest.raises(UserError, match="--processes 3 needs as many GPUs, and 2 can be seen"):
        processes.require_devices("cuda", 3)


def test_alone_nothing_is_needed() -> None:
    assert processes.first() and processes.world() == 1
    assert processes.joined(processes.share([1, 2, 3])) == [1, 2, 3]
    assert processes.total({"a": 1.5}) == {"a": 1.5} and processes.from_first(lambda: 7) == 7


def test_what_a_launcher_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not processes.launched_to_shard()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert processes.launched_to_shard() and not processes.launched_to_shard(), "the Trainer must not hear of it"
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UserError, match="--use_fsdp"):
        processes.launched_to_shard()


@pytest.fixture
def chosen(reader_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A tiny run of 4 steps."""
    for registry, name, part in job_run.stand_ins():
        monkeypatch.setitem(registry, name, part)
    job_run.write_data(tmp_path / "data")
    return job_run.recipe(reader_folder, tmp_path / "data", training={"steps": 4}, slots={"noise": 0.0})


def train(folder: Path, recipe: Recipe, count: int = 1, sharded: bool = False) -> Path:
    job = Job(folder, recipe, job_run.quiet(), count, sharded)
    try:
        job.prepare()
        job.sample()
        job.train()
    finally:
        job.close()
    return folder


def steps(folder: Path) -> list[dict[str, float]]:
    keys = ("loss", "grad_norm", "kl", "harm_nll", "tokens")  # not padding: that goes by how a step is cut
    lines = map(json.loads, (folder / "training.jsonl").read_text(encoding="utf-8").splitlines())
    return [{key: line[key] for key in keys} for line in lines if "loss" in line]


def same(one: Path, other: Path) -> None:
    assert len(steps(one)) == len(steps(other)) == 4
    for mine, theirs in zip(steps(one), steps(other), strict=True):
        assert mine == pytest.approx(theirs, rel=2e-4, abs=1e-6)
    weights, others = (load_file(folder / "adapter/adapter_model.safetensors") for folder in (one, other))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=1e-3, atol=2e-5)
    trained = [json.loads((folder / "trained.json").read_text(encoding="utf-8")) for folder in (one, other)]
    assert trained[0]["steps"] == trained[1]["steps"] == 4 and trained[0]["tokens"] == trained[1]["tokens"]
    assert trained[1]["flops"] == pytest.approx(trained[0]["flops"], rel=0.1)  # padding differs


@pytest.mark.parametrize("sharded", [False, True], ids=["whole, then sharded", "sharded, then whole"])
def test_two_processes_train_as_one_does_and_go_on_after_a_kill(
    chosen: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sharded: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(worker, "work", processes_child.train_and_be_killed)
        with pytest.raises(UserError, match="ended early"):
            train(tmp_path / "together", chosen, 2, sharded)
    assert (tmp_path / "together/checkpoints/checkpoint-2/optimizer.pt").exists()
    assert not (tmp_path / "together/trained.json").exists()
    monkeypatch.setattr(worker, "work", processes_child.train)
    same(train(tmp_path / "alone", chosen), train(tmp_path / "together", chosen, 2, not sharded))


def test_parts_in_the_cpus_memory_train_as_a_whole_model_does(
    chosen: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "work", processes_child.train)
    again = chosen.model_copy(update={"training": chosen.training.model_copy(update={"gradient_checkpointing": True})})
    moved = again.model_copy(update={"training": again.training.model_copy(update={"offload": True})})
    same(train(tmp_path / "alone", again), train(tmp_path / "together", moved, 2, sharded=True))


def test_moving_parts_to_the_cpu_needs_parts(chosen: Recipe, tmp_path: Path) -> None:
    moved = chosen.model_copy(update={"training": chosen.training.model_copy(update={"offload": True})})
    with pytest.raises(UserError, match="add --shard"):
        job_of(moved, tmp_path, job_run.quiet())
    four_bits = chosen.model_copy(update={"model": chosen.model.model_copy(update={"quantize": "4bit"})})
    with pytest.raises(UserError, match="leave one out"):
        job_of(four_bits, tmp_path, job_run.quiet(), processes=2, shard=True)


def test_what_two_processes_began_one_ends_and_the_other_way_round(
    chosen: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def on_step_begin(self: Watch, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_step_begin", on_step_begin)
        with pytest.raises(Killed):
            train(tmp_path / "alone, then together", chosen)
    shutil.copytree(tmp_path / "alone, then together", tmp_path / "alone")
    monkeypatch.setattr(worker, "work", processes_child.train)
    same(train(tmp_path / "alone", chosen), train(tmp_path / "alone, then together", chosen, 2, True))


def test_processes_of_a_launcher(chosen: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(chosen.to_yaml(), encoding="utf-8")
    processes.start(2, processes_child.launched, str(tmp_path / "launched"), str(tmp_path / "recipe.yaml"))
    same(train(tmp_path / "alone", chosen), tmp_path / "launched")
    assert (tmp_path / "launched/report.html").exists(), "the first one goes on alone"
    processes.start(2, processes_child.launched, str(tmp_path / "launched"), str(tmp_path / "recipe.yaml"))
