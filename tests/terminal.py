"""`textunlearn` as a test runs it: in this process, with what it printed and its exit code."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from textunlearn import cli, shell


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    def says(self, *words: str, code: int = shell.USER) -> None:
        """One sentence on stderr with all of ``words``, this exit code, no traceback."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err + self.out
        assert self.err.strip().count("\n") == 0, self.err
        for word in words:
            assert word in self.err


def plain(text: str) -> str:
    """Without colours, which some environments force on."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Terminal:
    """Runs `textunlearn` with arguments, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Outcome:
        self.capsys.readouterr()
        code = shell.run(cli.app, list(map(str, arguments)), lambda: cli._debug)
        return Outcome(code, *map(plain, self.capsys.readouterr()))


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Terminal]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "quiet", lambda: None)  # it sets this process's environment
    handler = signal.getsignal(signal.SIGTERM)
    yield Terminal(capsys)
    signal.signal(signal.SIGTERM, handler)
