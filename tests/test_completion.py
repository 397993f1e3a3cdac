"""Completion in a real bash, and what it offers; nothing heavy is imported on a Tab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from report_run import make_run
from terminal import Terminal
from textunlearn.cli import complete
from textunlearn.judges import JUDGES
from textunlearn.methods import METHODS

bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")

ASK = """
source "$1"; shift
for line in "$@"; do
    # readline cuts words at these; COMP_WORDS is what it hands to the function of `complete -F`
    mapfile -t COMP_WORDS < <("$PYTHON" "$CUT" "$line")
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); COMPREPLY=()
    $(complete -p textunlearn | sed -E 's/.*-F ([^ ]+) .*/\\1/') textunlearn 2>/dev/null
    printf '%s\\x1f' "${COMPREPLY[@]}"; printf '\\x1e'
done
"""
CUT = "import re, sys\nfor word in re.findall(r'[=:@]+|[^=:@\\s]+', sys.argv[1]): print(word)\nif sys.argv[1].endswith((' ')): print()\n"


def in_bash(folder: Path, *lines: str) -> list[list[str]]:
    """What a bash that has sourced our script offers at the end of each of ``lines``."""
    for name, text in (("ask.sh", ASK), ("cut.py", CUT)):
        (folder / name).write_text(text, encoding="utf-8")
    command = folder / "bin/textunlearn"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -X importtime -m textunlearn "$@" 2>> "{folder}/imported"\n'
    )
    command.chmod(0o755)
    (folder / "textunlearn.sh").write_text(complete.script("bash"), encoding="utf-8")
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    here = os.environ | {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": path,
        "PYTHON": sys.executable,
        "CUT": str(folder / "cut.py"),
    }
    asked = ["bash", "--norc", str(folder / "ask.sh"), str(folder / "textunlearn.sh"), *lines]
    done = subprocess.run(asked, cwd=folder, env=here, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [[word for word in one.split("\x1f") if word] for one in done.stdout.split("\x1e")[:-1]]


@bash
def test_bash_completes_verbs_options_and_names(tmp_path: Path) -> None:
    make_run(tmp_path / "done", n=2)
    lines = {
        "textunlearn ga": ["gate"],
        "textunlearn gate --max-": ["--max-asr", "--max-refusal", "--max-broken", "--max-perplexity"],
        "textunlearn run pl": ["plain"],
        "textunlearn evaluate m --suite xst": [
            "xstest_safe",
            "xstest_safe_image",
            "xstest_safe_blank",
            "xstest_safe_photo",
            "xstest_safe_spoken",
        ],
        "textunlearn judge done --judge rul": ["rules"],
        # bash hands over what stands between = : @, and puts what it gets in place of the last piece
        "textunlearn run --set method.name=safe_": ["safe_unlearning"],
        "textunlearn run --set training.guard=": ["true", "false"],
        "textunlearn gate done:be": ["before"],
        "textunlearn evaluate m --suite harmbench@rot": ["rot13"],
        "textunlearn gate done --max-asr figs": ["figstep="],
    }
    for line, offered in zip(lines, in_bash(tmp_path, *lines), strict=True):
        assert offered == lines[line], line
    imported = (tmp_path / "imported").read_text(encoding="utf-8")
    assert "textunlearn.cli" in imported
    heavy = [name for name in ("torch", "transformers", "peft", "matplotlib") if f"| {name}\n" in imported]
    assert heavy == []


@bash
def test_no_space_after_a_name_that_a_value_follows(tmp_path: Path) -> None:
    done = subprocess.run(["bash", "-n"], input=complete.script("bash"), capture_output=True, text=True, check=True)
    assert done.stderr == "" and "compopt -o nospace" in complete.script("bash")


def test_scripts_are_printed_for_three_shells(terminal: Terminal) -> None:
    for shell, word in (
        ("bash", "complete -o default"),
        ("zsh", "#compdef textunlearn"),
        ("fish", "complete --command"),
    ):
        outcome = terminal("completion", shell)
        assert outcome.code == 0 and word in outcome.out and complete.VARIABLE in outcome.out
    assert terminal("completion", "cmd").code == 2


def test_other_shells_are_given_whole_words(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    monkeypatch.setenv(complete.VARIABLE, "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "textunlearn run --set method.name=np")
    assert '"method.name=npo"' in terminal().out


@pytest.mark.parametrize(
    ("words", "current", "joined", "place", "kept"),
    [
        (["t", "run", "pl"], 2, ["t", "run", "pl"], 2, ""),
        (["t", "run", ""], 2, ["t", "run", ""], 2, ""),
        (["t", "--set", "a.b", "=", "c"], 4, ["t", "--set", "a.b=c"], 2, "a.b="),
        (["t", "--set", "a.b", "="], 3, ["t", "--set", "a.b="], 2, "a.b="),
        (["t", "--set", "a", "=", "b", "next"], 5, ["t", "--set", "a=b", "next"], 3, ""),
        (["t", "gate", "runs/x", ":", "be"], 4, ["t", "gate", "runs/x:be"], 2, "runs/x:"),
        (["t", "run"], 2, ["t", "run"], 2, ""),
    ],
)
def test_words_that_bash_cut(words: list[str], current: int, joined: list[str], place: int, kept: str) -> None:
    assert complete.rejoin(words, current) == (joined, place, kept)


def test_every_registered_name_is_offered() -> None:
    assert [one[0] for one in complete.recipe_settings("")]  # keys
    assert complete.recipe_settings("method.name=") == [f"method.name={name}" for name in METHODS.names()]
    assert complete.recipe_settings("evaluation.judge=") == [f"evaluation.judge={name}" for name in JUDGES.names()]
    assert "model.dtype=bfloat16" in complete.recipe_settings("model.dtype=b")
    assert complete.recipe_settings("nothing=") == []
    assert {"training.lr=", "slots.share="} <= {one[0] for one in complete.recipe_settings("")}
    assert {"endpoint", "evaluation.limit="} & {one[0] for one in complete.evaluation_settings("")}
