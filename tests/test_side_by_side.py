"""Parts of a batch at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import tiny
from textunlearn.evaluation.generation import Request, generate
from textunlearn.evaluation.side_by_side import parts_for, side_by_side
from textunlearn.recipe import ModelSpec
from textunlearn.vlm.load import load


@pytest.fixture(autouse=True)
def two_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_results_come_in_the_order_of_their_items(count: int, parts: int) -> None:
    items = list(range(count))
    assert side_by_side(items, min(parts, count), lambda some: [10 * n for n in some]) == [10 * n for n in items]


def test_parts_run_at_once_each_on_its_share_of_the_threads() -> None:
    both = threading.Barrier(2, timeout=20)  # broken, and raised, where one part waits for the other's end
    found: list[int] = []

    def work(some: Sequence[int]) -> list[int]:
        both.wait()
        found.append(torch.get_num_threads())
        return list(some)

    side_by_side([1, 2], 2, work)
    assert found == [1, 1]
    assert torch.get_num_threads() == 2


def test_what_a_part_raises_is_raised_and_the_threads_are_given_back() -> None:
    def work(some: Sequence[int]) -> list[int]:
        if 1 in some:
            raise RuntimeError("out of memory")
        return list(some)

    with pytest.raises(RuntimeError, match="out of memory"):
        side_by_side([0, 1], 2, work)
    assert torch.get_num_threads() == 2
    assert torch.randn(4).sum().isfinite()


def test_answers_are_those_of_the_whole_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = load(ModelSpec(id=str(tiny.reader_vlm(tmp_path)), dtype="float32"))
    words = tiny.WORDS.split()
    asked = [Request(tuple(vlm.prompt_ids(" ".join(words[: 2 + n])))) for n in range(16)]
    used: list[int] = []
    whole = generate(vlm, asked, 6, batch_size=4)  # too few rows to part
    monkeypatch.setattr(
        "textunlearn.evaluation.generation.side_by_side",
        lambda items, parts, work: used.append(parts) or side_by_side(items, parts, work),
    )
    assert generate(vlm, asked, 6, batch_size=16) == whole
    assert used == [2]
    assert len({answer.text for answer in whole}) > 1


def test_models_that_keep_something_of_a_batch_are_not_parted(tmp_path: Path) -> None:
    vlm = load(ModelSpec(id=str(tiny.reader_vlm(tmp_path)), dtype="float32"))
    assert parts_for(vlm, 64) == 2
    assert parts_for(vlm, 15) == 1
    vlm.decoder.rope_deltas = None  # type: ignore[assignment]
    assert parts_for(vlm, 64) == 1
