"""What is asked of every refusal: one sentence that says what, where and how to mend it, and a disk that is as it was before."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from textunlearn import cli, shell
from textunlearn.errors import UserError

MEND = re.compile(
    r"; \S|: \S.* is wanted|should be|should match|must (be|not|have)|did you mean|choose|known here|needs? |leave .* out|"
    r"should have|e\.g\. |such as|expected |mend |give |use |lower |raise |correct|save it|check "
)
"""How a sentence that says what to do sounds."""


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` with its bytes; folders too, so that an empty one left behind shows."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def check_sentence(text: str, words: tuple[str, ...]) -> None:
    assert "\n" not in text and text.isprintable(), repr(text)
    assert 20 < len(text) <= 2000 and "Traceback" not in text
    assert [word for word in words if word.lower() not in text.lower()] == [], text
    assert MEND.search(text), f"says not how to mend it: {text}"


def refused(folder: Path, words: tuple[str, ...], call: Callable[[], Any]) -> str:
    """Asserts that ``call`` is refused as it should be, and leaves ``folder`` alone. Returns the sentence."""
    before = tree(folder)
    with pytest.raises(UserError) as caught:
        call()
    text = str(caught.value)
    check_sentence(text, words)
    assert tree(folder) == before, "a refusal writes nothing"
    return text


def refused_by(capsys: pytest.CaptureFixture[str], folder: Path, words: tuple[str, ...], *arguments: object) -> str:
    """The same of the command line, in this process: exit code 2, nothing on stdout, one line on stderr."""
    before = tree(folder)
    capsys.readouterr()
    code = shell.run(cli.app, list(map(str, arguments)), lambda: False)
    out, err = (re.sub(r"\x1b\[[0-9;]*m", "", text) for text in capsys.readouterr())
    assert code == shell.USER, err
    assert out == "" and err.count("\n") == 1, (out, err)
    text = err.removeprefix(shell.ERROR).removesuffix("\n")
    check_sentence(text, words)
    assert tree(folder) == before, "a refusal writes nothing"
    return text
