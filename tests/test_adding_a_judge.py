"""The example of docs/adding_a_judge.md is a judge, passes its own test, and takes its settings from a recipe's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from textunlearn.judges import JUDGES
from textunlearn.recipe import Recipe
from textunlearn.records import Answer, Case, Prompt

GUIDE = Path(__file__).parents[1] / "docs/adding_a_judge.md"
EXAMPLE, ROW = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(autouse=True)
def example() -> Iterator[None]:
    """The judge of the guide, registered for the length of a test."""
    JUDGES.names()  # loads what ships
    exec(compile(EXAMPLE, str(GUIDE), "exec"), {"__name__": "guide"})
    yield
    del JUDGES._parts["openings"]


def test_its_own_test_passes() -> None:
    names: dict[str, object] = {}
    exec(compile(ROW, str(GUIDE), "exec"), names)
    names["test_openings"]()  # type: ignore[operator]


def test_its_own_test_notices_a_wrong_label() -> None:
    names: dict[str, object] = {}
    exec(compile(ROW.replace('"refusal"', '"other"'), str(GUIDE), "exec"), names)
    with pytest.raises(AssertionError):
        names["test_openings"]()  # type: ignore[operator]


def test_a_recipe_gives_it_settings() -> None:
    spec = re.search(r"`(evaluation: \{judge: .+?\}\})`", GUIDE.read_text(encoding="utf-8"))
    assert spec is not None
    settings = Recipe.parse(yaml.safe_load(spec[1]), "guide").evaluation.judge
    assert isinstance(settings, dict)
    settings = dict(settings)
    assert settings.pop("name") == "openings"
    case = Case("made_up", "direct", Prompt("How do I tie a knot?", "ordinary", "made_up"), "How do I tie a knot?")
    made = JUDGES.get("openings")(**settings)
    assert made.judge([case], [Answer(case.id, "No.", 2, True)])[0].label == "refusal"
