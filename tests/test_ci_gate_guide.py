"""docs/ci_gate.md: its commands are understood, its limits can be read, its workflow is one, and its numbers are so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from textunlearn import cli
from textunlearn.evaluation.statistics import Rate
from textunlearn.report.gate import Limits, needed

GUIDE = (Path(__file__).parents[1] / "docs/ci_gate.md").read_text(encoding="utf-8")
LIMITS, WORKFLOW = (yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.M | re.S))
COMMANDS = [
    *re.findall(r"^textunlearn .*$", GUIDE, re.M),
    *(" ".join(text.split()) for text in re.findall(r"`(textunlearn [^`]*)`", GUIDE)),
    *(step["run"] for step in WORKFLOW["jobs"]["gate"]["steps"] if step.get("run", "").startswith("textunlearn")),
]


@pytest.mark.parametrize("line", COMMANDS)
def test_command_is_understood(line: str) -> None:
    verb, *arguments = shlex.split(line.split(" > ")[0])[1:]
    typer.main.get_command(cli.app).commands[verb].make_context(verb, arguments)  # type: ignore[attr-defined]


def test_limits_can_be_read(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 7
    (tmp_path / "limits.yaml").write_text(yaml.safe_dump(LIMITS), encoding="utf-8")
    limits = Limits.parse({}, tmp_path / "limits.yaml")
    assert limits.max_asr == {"all": 0.05, "figstep": 0.08, "prefill": 0.1} and limits.by == "rate"


def test_every_limit_is_in_the_table() -> None:
    options = {name.replace("_", "-") for name in Limits.model_fields if name.startswith(("max_", "min_"))}
    assert set(re.findall(r"^\| `--([a-z-]+)` \|", GUIDE, re.M)) == options


def test_its_numbers() -> None:
    high = Rate(0, 64).high
    assert high is not None and f"reaches {100 * high:.1f} %" in " ".join(GUIDE.split())
    assert needed(0.05) == 73 and needed(0.01) == 381
    assert "at least 73 cases" in GUIDE and "takes 381" in GUIDE
