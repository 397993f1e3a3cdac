"""What the README says can be done can be done: its commands, recipe, code, paths and links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from textunlearn import cli
from textunlearn.methods import METHODS, Method
from textunlearn.recipe import Recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S)
COMMANDS = [
    line
    for language, text in BLOCKS
    for line in text.splitlines()
    if language == "" and line.startswith("textunlearn ")
]


def test_the_two_commands_are_there_and_exist() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = set(re.findall(r"^make (\w+)", README, re.M))
    assert named == {"quickstart", "test"} and named <= set(targets)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_is_understood(line: str) -> None:
    verb, *arguments = shlex.split(line, comments=True)[1:]
    if verb == "--help":
        return
    command = typer.main.get_command(cli.app).commands[verb]  # type: ignore[attr-defined]
    command.make_context(verb, arguments)  # raises for an option or argument that is not there


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 5


def test_recipe_is_valid() -> None:
    recipes = [Recipe.parse(yaml.safe_load(text), "README") for language, text in BLOCKS if language == "yaml"]
    assert recipes and recipes[0].data.harmful[1].answer_column == "answer"


def test_method_of_a_minute_works(monkeypatch: pytest.MonkeyPatch) -> None:
    METHODS.names()
    monkeypatch.setattr(METHODS, "_parts", dict(METHODS._parts))
    code = next(text for language, text in BLOCKS if language == "python")
    exec(compile(code, "README", "exec"), {"__name__": "readme"})
    recipe = Recipe.parse({"method": {"name": "mine", "settings": {"weight": 0.5}}}, "README")
    assert isinstance(METHODS.get("mine")(**recipe.method.settings), Method)


def test_paths_and_links_exist() -> None:
    layout = next(text for _, text in BLOCKS if text.startswith("src/textunlearn/\n"))
    inside = [word for line in layout.splitlines()[1:] for word in re.findall(r"^  (\S+)(?: (\S+))?", line)[0] if word]
    missing = [name for name in inside if not (ROOT / "src/textunlearn" / name).exists()]
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    missing += [link for link in links if not (ROOT / link).exists()]
    missing += [path for path in re.findall(r"`python (\S+)`", README) if not (ROOT / path).exists()]
    assert missing == []
