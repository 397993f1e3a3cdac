"""What README, CONTRIBUTING and docs/ show works: commands parse, recipes are valid, code is Python that imports, links lead somewhere.

A block that cannot be checked so has ``<!-- not run: reason -->`` on the line before it; the reasons are the skips' reasons.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main
import yaml

from textunlearn import cli
from textunlearn.comparison.spec import Comparison
from textunlearn.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+) -->\n)?```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```", re.M | re.S
)
INDENTED = re.compile(r"^    (textunlearn .+)$", re.M)


class Block(NamedTuple):
    """One piece of a page: where it starts, what it is in, and why it is not checked, if it is not."""

    where: str
    language: str
    text: str
    reason: str | None


def _blocks() -> list[Block]:
    found = []
    for page in PAGES:
        source, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
        for match in BLOCK.finditer(source):
            line = source.count("\n", 0, match.start("text"))
            found.append(Block(f"{name}:{line}", match["language"], match["text"], match["reason"]))
        for match in INDENTED.finditer(BLOCK.sub("", source)):
            found.append(Block(name, "bash", match[1], None))
    return found


BLOCKS = _blocks()


def _commands() -> list[tuple[str, str]]:
    """(where, command line) of every use of ``textunlearn`` at the start of a line, continued lines joined."""
    return [
        (block.where, line)
        for block in BLOCKS
        if block.language in ("", "bash", "sh") and not block.reason
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.startswith("textunlearn ")
    ]


def of(*languages: str) -> list[object]:
    return [pytest.param(block, id=block.where) for block in BLOCKS if block.language in languages]


def words(line: str) -> list[str]:
    """The arguments of the first command of a line: what comes after a pipe or a redirection is the shell's."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|>;&")
    lexer.whitespace_split, lexer.commenters = True, "#"
    found = []
    for word in lexer:
        if set(word) <= set("|>;&"):
            break
        found.append(word)
    return found[1:]


def parse(line: str) -> None:
    """Have the real parser read a command line; nothing is run. Raises the parser's error for what it does not know."""
    group = typer.main.get_command(cli.app)
    verb, *arguments = words(line)
    if verb in ("--help", "--version"):
        return
    assert verb in group.commands, f"there is no verb {verb}"  # type: ignore[attr-defined]
    command = group.commands[verb]  # type: ignore[attr-defined]
    while arguments and arguments[0] in getattr(command, "commands", {}):  # `judges check`
        verb, *arguments = arguments
        command = command.commands[verb]
    command.make_context(verb, arguments)


@pytest.mark.parametrize(("where", "line"), _commands())
def test_command_is_understood(where: str, line: str) -> None:
    parse(line)


@pytest.mark.parametrize(
    "line", ["textunlearn gaet runs/a", "textunlearn gate runs/a --max-ars 5%  # slip", "textunlearn judge"]
)
def test_a_slip_is_noticed(line: str) -> None:
    with pytest.raises(Exception) as caught:
        parse(line)
    assert hasattr(caught.value, "format_message") or isinstance(caught.value, AssertionError)


@pytest.mark.parametrize("block", of("yaml"))
def test_recipe_is_valid(block: Block) -> None:
    if block.reason:
        pytest.skip(block.reason)
    shown = yaml.safe_load(block.text)
    if "entries" in shown:  # lines to add to a comparison's recipe
        shipped = yaml.safe_load((ROOT / "src/textunlearn/recipes/comparison.yaml").read_text(encoding="utf-8"))
        Comparison.parse({**shipped, "entries": {**shipped["entries"], **shown["entries"]}}, block.where)
    else:
        Recipe.parse(shown, block.where)


@pytest.mark.parametrize("block", of("python"))
def test_code_is_python_and_its_imports_exist(block: Block) -> None:
    if block.reason:
        pytest.skip(block.reason)
    for node in ast.walk(ast.parse(block.text, block.where)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "textunlearn":
            module = importlib.import_module(node.module)
            missing = [name.name for name in node.names if not hasattr(module, name.name)]
            for name in missing:
                importlib.import_module(f"{node.module}.{name}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_there_is_something_to_check() -> None:
    assert len(_commands()) >= 40 and len(of("yaml")) >= 6 and len(of("python")) >= 8
