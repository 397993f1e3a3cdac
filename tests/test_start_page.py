"""What docs/start.md shows on a terminal is what the terminal shows: its ``console`` blocks are run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from terminal import Terminal

PAGE = (Path(__file__).parents[1] / "docs/start.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```console\n\$ textunlearn (.*)\n((?:.*\n)*?)```", PAGE, re.M)


@pytest.mark.parametrize(("line", "output"), SHOWN, ids=[line.split()[0] for line, _ in SHOWN])
def test_output_is_real(line: str, output: str, terminal: Terminal) -> None:
    outcome = terminal(*shlex.split(line))
    assert outcome.code == 0 and outcome.err == ""
    assert [row.rstrip() for row in outcome.out.splitlines()] == output.splitlines()


def test_there_is_some() -> None:
    assert len(SHOWN) == 2 and all(output.strip() for _, output in SHOWN)
