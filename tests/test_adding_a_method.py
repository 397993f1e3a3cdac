"""The example of docs/adding_a_method.md is a method, passes its own test, and trains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import test_methods
import test_training
import tiny
from textunlearn.methods import METHODS

GUIDE = Path(__file__).parents[1] / "docs/adding_a_method.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def example() -> Iterator[str]:
    """The method of the guide, registered for the length of a test."""
    METHODS.names()  # loads what ships
    source = blocks()[0]
    exec(compile(source.replace("from __future__ import annotations\n", ""), str(GUIDE), "exec"), {"Role": str})
    yield source
    del METHODS._parts["gradient_difference"]


def test_it_is_about_thirty_lines(example: str) -> None:
    assert len(example.splitlines()) <= 34
    assert "gradient_difference" in METHODS.names()


def test_its_own_test_passes(example: str) -> None:
    names = dict(vars(test_methods))
    exec(compile(blocks()[1], str(GUIDE), "exec"), names)
    names["test_gradient_difference"]()
    exec(compile(blocks()[1].replace("-0.5", "-0.6"), str(GUIDE), "exec"), names)
    with pytest.raises(AssertionError):  # it would notice another weight
        names["test_gradient_difference"]()


def test_it_trains(example: str, clip_folder: Path, tmp_path: Path) -> None:
    log = test_training.train(tiny.loaded(clip_folder), tmp_path, steps=3, method="gradient_difference")
    assert len(log) == 3 and log[-1]["harm_nll"] > log[0]["harm_nll"]
