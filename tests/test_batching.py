"""Batch sizes follow the memory there is, and a cache with room holds what transformers' own holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.cache_utils import DynamicLayer

from textunlearn.evaluation import batching
from textunlearn.evaluation.batching import BATCH, first_size, in_batches
from textunlearn.vlm.load import Vlm
from textunlearn.vlm.roomy_cache import RoomyLayer, roomy_cache

MB = 1 << 20


class Machine:
    """Memory of which each row of a batch takes a share, and keeps it as PyTorch does; more rows than fit are an error."""

    def __init__(self, rows: int, elsewhere: int = 0) -> None:
        self.whole, self.taken, self.elsewhere = rows * MB, 0, elsewhere * MB
        self.sizes: list[int] = []

    def memory(self, device: Any) -> tuple[int, int]:
        return self.whole - self.elsewhere - self.taken, self.taken

    def work(self, some: list[int]) -> list[int]:
        self.sizes.append(len(some))
        if len(some) * MB > self.whole - self.elsewhere:
            raise torch.OutOfMemoryError("out of memory")
        self.taken = max(self.taken, len(some) * MB)
        return some


def sizes(machine: Machine, vlm: Vlm, patch: pytest.MonkeyPatch, count: int, size: int | None = None) -> list[int]:
    patch.setattr(batching, "memory", machine.memory)
    done = [i for some, _ in in_batches(range(count), size, lambda i: 0, machine.work, vlm) for i in some]
    assert done == list(range(count)), "every row once, in order"
    return machine.sizes


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with 8 rows, and go to 64."""
    monkeypatch.setattr(batching, "first_size", lambda vlm: 8)


@pytest.mark.usefixtures("small")
def test_sizes_double_while_there_is_room(clip: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sizes(Machine(10_000), clip, monkeypatch, 300) == [8, 16, 32, 64, 64, 64, 52]
    # 32 rows take 32 of 90: the 58 that are free are planned with by half, and 32 more are not in it.
    assert sizes(Machine(90), clip, monkeypatch, 120) == [8, 16, 32, 32, 32]


@pytest.mark.usefixtures("small")
def test_what_did_not_fit_is_never_tried_again(clip: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(100)
    original = machine.work

    def work(some: list[int]) -> list[int]:
        machine.elsewhere = 90 * MB if len(machine.sizes) >= 2 else 0  # somebody else comes
        return original(some)

    monkeypatch.setattr(machine, "work", work)
    assert sizes(machine, clip, monkeypatch, 60) == [8, 16, 32, 16, 8, 8, 8, 8, 4]


def test_a_size_that_is_given_stays(clip: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sizes(Machine(10_000), clip, monkeypatch, 12, 5) == [5, 5, 2]


def test_neighbours_that_differ_end_a_batch_without_making_the_next_larger(
    clip: Vlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(10_000)
    monkeypatch.setattr(batching, "memory", machine.memory)
    monkeypatch.setattr(batching, "first_size", lambda vlm: 4)
    kinds = [0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert [len(some) for some, _ in in_batches(range(9), None, kinds.__getitem__, machine.work, clip)] == [3, 4, 2]


def test_a_large_model_on_a_small_machine_begins_small(clip: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = sum(weight.nbytes for weight in clip.base.parameters())
    for share, expected in ((100, BATCH), (2, BATCH), (1, BATCH // 2), (0.5, BATCH // 4), (1e-9, 1)):
        monkeypatch.setattr(batching, "memory", lambda device, share=share: (int(weights * share), 0))
        assert first_size(clip) == expected
    monkeypatch.setattr(batching, "memory", lambda device: None)
    assert first_size(clip) == BATCH


def test_the_memory_of_this_machine_can_be_told() -> None:
    free, taken = batching.memory(torch.device("cpu")) or (0, 0)
    assert free > 0 and taken > 0
    assert batching.memory(torch.device("meta")) is None


def test_a_cache_with_room_holds_what_transformers_own_holds() -> None:
    """Also after rows were repeated, chosen or cut, and beyond the room it was made with."""
    torch.manual_seed(0)
    ours, theirs = RoomyLayer(room=6), DynamicLayer()

    def add(rows: int, tokens: int) -> None:
        new = torch.randn(rows, 2, tokens, 4), torch.randn(rows, 2, tokens, 4)
        for mine, his in zip(ours.update(*new), theirs.update(*new), strict=True):
            assert torch.equal(mine, his)

    def both(name: str, *given: Any) -> None:
        for layer in (ours, theirs):
            getattr(layer, name)(*given)
        assert torch.equal(ours.keys, theirs.keys) and torch.equal(ours.values, theirs.values)

    add(1, 3)
    both("batch_repeat_interleave", 3)
    for _ in range(5):
        add(3, 1)
    both("batch_select_indices", torch.tensor([2, 0]))
    add(2, 1)
    both("crop", -2)
    add(2, 3)
    both("reorder_cache", torch.tensor([1, 0]))
    add(2, 1)
    assert ours.get_seq_length() == theirs.get_seq_length() == 11


def test_memory_is_taken_once() -> None:
    layer = roomy_cache(LlamaConfig(num_hidden_layers=1), 10).layers[0]
    places = {layer.update(torch.ones(2, 1, 2, 4), torch.ones(2, 1, 2, 4))[0].data_ptr() for _ in range(5)}
    assert len(places) == 1


def test_layers_that_keep_a_window_stay_as_they_are() -> None:
    config = LlamaConfig(num_hidden_layers=2)
    config.layer_types = ["full_attention", "sliding_attention"]
    config.sliding_window = 4
    kinds = [type(layer).__name__ for layer in roomy_cache(config, 10).layers]
    assert kinds == ["RoomyLayer", "DynamicSlidingWindowLayer"]
