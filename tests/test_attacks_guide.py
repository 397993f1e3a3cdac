"""docs/attacks.md: its expressions can be resolved, its recipe checked, and its example is an attack that passes its own row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from test_attack_families import PROMPT
from textunlearn.attacks import ATTACKS, speech
from textunlearn.attacks.grammar import resolve
from textunlearn.recipe import Recipe
from textunlearn.records import Prompt

GUIDE = (Path(__file__).parents[1] / "docs/attacks.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def example() -> Iterator[str]:
    """The attack of the guide, registered for the length of a test."""
    ATTACKS.names()  # loads what ships
    source = blocks("python")[0]
    names: dict[str, object] = {}
    exec(compile(source, "docs/attacks.md", "exec"), names)
    yield source
    del ATTACKS._parts["shout"]


def test_it_is_ten_lines_and_can_be_chained(example: str) -> None:
    code = [line for line in example.splitlines() if line.strip()]
    assert len(code) <= 10
    drawn = resolve("shout(marks=3) | typography_short")(PROMPT)
    loud = ATTACKS.get("typography_short")(Prompt(PROMPT.text.upper() + "!!!", "harmful", "made_up"))
    assert drawn.images[0].tobytes() == loud.images[0].tobytes()


def test_its_row_passes(example: str) -> None:
    rows = eval(f"[{blocks('python')[1]}]")
    assert [resolve(expression)(PROMPT).text for expression, _ in rows] == [typed for _, typed in rows]


def test_its_recipe_and_expressions_are_right() -> None:
    suites = Recipe.parse(yaml.safe_load(blocks("yaml")[0]), "docs/attacks.md").evaluation.suites
    assert len(suites) == 3
    plain, *commands = blocks("")
    for line in plain.splitlines():
        resolve(re.split(r"\s{2,}", line)[0])
    shown = [found for block in commands for found in re.findall(r"textunlearn attacks '([^']+)'", block)]
    assert len(shown) == 3
    for expression in shown:
        attack = resolve(expression)
        if "spoken" not in expression or speech.installed():
            attack(PROMPT)


def test_every_attack_stands_in_its_table_and_none_that_is_not_there() -> None:
    table = GUIDE.split("## Families")[1].split("\nSeveral pictures")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert sorted(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == ATTACKS.names()
