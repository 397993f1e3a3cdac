"""`benchmarks/determinism.py` on a tiny model: its ways agree in float32, and what does not agree is found and shown."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from textunlearn.recipe import ModelSpec

SCRIPT = Path(__file__).parents[1] / "benchmarks/determinism.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("determinism", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["determinism"] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def asked(bench: Any, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("determinism")
    spec = ModelSpec(id=str(clip_folder), dtype="float32", device="cpu")
    return bench.Asked(tiny.loaded(clip_folder), spec, bench.build(9, folder), folder, 12)


def test_batches_orders_and_sittings_change_no_answer(bench: Any, asked: Any) -> None:
    ways = [name for name in bench.WAYS if name != "two processes"]  # seconds of imports; the benchmark does it
    found = bench.measure(asked, ways)
    assert [(one.way, one.n, one.equal, one.verdicts, one.metrics) for one in found] == [
        (name, 18, 18, 0, True) for name in ways
    ]
    said = asked.answer(asked.cases)
    assert len({answer.text for answer in said.values()}) > 9, "a model that says one thing proves nothing"


def test_an_answer_that_differs_is_listed(bench: Any, asked: Any) -> None:
    plain = asked.answer(asked.cases)
    key = asked.cases[0].id
    other = {**plain, key: replace(plain[key], text=plain[key].text[:3] + "another end")}
    one = bench.agreement("made up", asked, plain, other, 0.0)
    assert (one.equal, [(d["case"], d["at"]) for d in one.differing], one.enough) == (17, [(key, 3)], False)
    refusing = {**plain, key: replace(plain[key], text="I'm sorry, but I can't help with that.")}
    one = bench.agreement("made up", asked, plain, refusing, 0.0)
    assert one.verdicts == 1 and not one.metrics


def test_cases_are_the_same_in_any_process(bench: Any, asked: Any) -> None:
    assert bench.case_hash_elsewhere(9, "7") == bench.case_set_hash(asked.cases)
