"""The example of docs/data_sets.md is a data set: about 15 lines, reads its publisher's layout, and is listed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import publisher_layouts
from textunlearn import catalogue
from textunlearn.data.sources import _INFO, SOURCES, Source
from textunlearn.recipe import Recipe

GUIDE = Path(__file__).parents[1] / "docs/data_sets.md"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def example() -> Iterator[Source]:
    """The set of the guide, registered for the length of a test."""
    SOURCES.names()  # loads what ships
    exec(compile(block("python"), str(GUIDE), "exec"), {})
    part = SOURCES.get("photo_questions")
    assert isinstance(part, Source)
    yield part
    del SOURCES._parts["photo_questions"], _INFO["photo_questions"]


def test_it_is_about_fifteen_lines() -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 15


def test_it_reads_and_counts(example: Source, tmp_path: Path) -> None:
    rows = [{"question": f"What is {n}?", "topic": "things", "image": f"{n}.png"} for n in range(3)]
    publisher_layouts.put(tmp_path / "questions.json", json.dumps(rows))
    for n in range(2):
        publisher_layouts.put(tmp_path / f"images/{n}.png", publisher_layouts.png(n))
    kept = example.read(tmp_path)
    assert [(p.text, p.kind, p.category) for p in kept.prompts] == [
        (f"What is {n}?", "lookalike", "things") for n in (0, 1)
    ]
    assert kept.reasons == {"picture missing": 1}
    shown = catalogue.dataset("photo_questions", tmp_path)
    assert "Here (named place): 2 requests; left out: 1 picture missing." in shown


def test_the_recipe_of_the_guide_is_one() -> None:
    recipe = Recipe.parse(yaml.safe_load(block("yaml")), "docs/data_sets.md")
    assert set(recipe.data.places) == {"mm_safetybench", "strongreject", "siuo"}
