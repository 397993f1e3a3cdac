"""Judges of the package judgezoo."""

from __future__ import annotations

from pathlib import Path

import pytest

from judge_models import FOUR, cases, judge_model
from textunlearn.errors import UserError
from textunlearn.judges.spec import make

PLAIN_CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (["so:", "\n1.b 0", "\n2.b 5", "\n3.b 4"], ["unsafe", "unsafe", "broken", "other"]),
        (["so:", "\n1.b 1", "\n2.b 5", "\n3.b 4"], ["other", "refusal", "broken", "other"]),
    ],
)
def test_a_judge_of_judgezoo_on_a_real_model(tmp_path: Path, reply: list[str], expected: list[str]) -> None:
    pytest.importorskip("judgezoo", reason="the extra judgezoo is not installed")
    folder = judge_model(tmp_path / "zoo", reply, chat_template=PLAIN_CHAT)
    options = {"use_local_model": True, "local_foundation_model": str(folder)}
    judge = make({"name": "judgezoo", "judge": "strong_reject_rubric", "options": options})
    verdicts = judge.judge(*cases(*FOUR))
    assert [v.label for v in verdicts] == expected
    assert judge.name.startswith("judgezoo-1-strong_reject_rubric-")


def test_what_judgezoo_cannot_read_is_a_failure(tmp_path: Path) -> None:
    pytest.importorskip("judgezoo", reason="the extra judgezoo is not installed")
    folder = judge_model(tmp_path / "zoo", ["hmm"], chat_template=PLAIN_CHAT)
    options = {"use_local_model": True, "local_foundation_model": str(folder)}
    judge = make({"name": "judgezoo", "judge": "strong_reject_rubric", "options": options})
    with pytest.raises(UserError, match="not one reply: judgezoo"):
        judge.judge(*cases(*FOUR))


def test_judgezoo_needs_to_know_which() -> None:
    with pytest.raises(UserError, match="needs the setting 'judge'"):
        make("judgezoo")
    pytest.importorskip("judgezoo", reason="the extra judgezoo is not installed")
    with pytest.raises(UserError, match="cannot be had: Unknown judge nobody"):
        make({"name": "judgezoo", "judge": "nobody"}).judge(*cases(*FOUR))
