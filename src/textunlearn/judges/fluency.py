"""How likely a text is to a small language model: what no one would write has surprising tokens all the way.

Word salads of a few long pieces have the statistics of names and headings (`judges.language` says nothing of them), and still no model of
English expects them. The model is the language part of the built-in one (SmolLM2-135M-Instruct), float32 on the CPU; asked only about
texts of which the rules are in doubt.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from textunlearn.judges import language

TOKENS = 48
"""Of a text that are looked at: a salad is one from its beginning."""

SHORTEST = 12
"""Tokens below which nothing is said: the first of any text are surprising."""

DOUBT = -2.2
"""Log odds of the rules (`language.score`) from which on the model is asked."""

NEAR_SALAD = -0.75
"""Log odds from which on a text is nearly a salad by the rules."""

STRICT, LONG, OTHERWISE = 4.4, 5.5, 6.7
"""Mean NLL a token (nats) above which a text is no language: where it is nearly a salad and of English words, where it is English of
:data:`ENOUGH` tokens, and elsewhere. Above those of every text in the tuning halves that is language. Ordinary sentences in German, Dutch,
Polish, Turkish and the like lie between 3.9 and 5.8, those in other scripts between 2.2 and 4.3."""

ENOUGH = 24

_BATCH = 16
_ADDRESS = re.compile(r"https?://\S+|www\.\S+|\S+@\S+")
_ENCODED = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")


def salads(texts: Sequence[str], settled: Sequence[bool]) -> list[bool]:
    """Which of ``texts`` are no language, by the model; it is loaded only where one of them is in doubt.

    Args:
        settled: texts that the rules know the sense of (a refusal, say): asked about only if they look like a salad, not if nothing can be
            said of them.
    """
    # Code stays: a salad may open a fence that nothing closes, and to the model real code is likely.
    cleaned = [_ENCODED.sub(_unless_base64, _ADDRESS.sub(" ", text)) for text in texts]
    odds = [language.score(text) for text in texts]
    asked = [
        i
        for i, odd in enumerate(odds)
        if (odd is not None and odd > DOUBT)
        or (odd is None and not settled[i] and len(cleaned[i]) >= SHORTEST and not language.is_foreign(texts[i]))
    ]
    out = [False] * len(texts)
    for i, found in zip(asked, surprise([cleaned[i] for i in asked]), strict=True):
        out[i] = found is not None and found.nll > _limit(cleaned[i], odds[i], found.tokens)
    return out


def _unless_base64(hit: re.Match[str]) -> str:
    """Nothing for what decodes to text; words run together do not."""
    run = hit.group()
    decoded = base64.b64decode(run[: len(run) - len(run) % 4])
    return " " if decoded.isascii() and decoded.decode("ascii").isprintable() else run


def _limit(text: str, odds: float | None, tokens: int) -> float:
    if odds is not None and odds > NEAR_SALAD:
        return STRICT if language.unknown(language.prose(text)) < 0.5 else OTHERWISE
    return LONG if tokens >= ENOUGH and not language.is_other(language.prose(text)) else OTHERWISE


@dataclass(frozen=True, slots=True)
class Surprise:
    """Mean negative log-likelihood a token (nats), and over how many tokens."""

    nll: float
    tokens: int


def surprise(texts: Sequence[str]) -> list[Surprise | None]:
    """How surprising each text's tokens behind its first are, of :data:`TOKENS` at most; None for texts of fewer than :data:`SHORTEST`.
    UserError if the built-in model cannot be had."""
    if not texts:
        return []
    import torch

    vlm = _loaded()
    rows = [
        [vlm.tokenizer.bos_token_id, *vlm.tokenizer.encode(t, add_special_tokens=False)][: TOKENS + 1] for t in texts
    ]
    out: list[Surprise | None] = [None] * len(texts)
    order = sorted((i for i, row in enumerate(rows) if len(row) > SHORTEST), key=lambda i: len(rows[i]))
    for start in range(0, len(order), _BATCH):
        some = order[start : start + _BATCH]
        # Padding stands behind the text, where a causal model does not look back from.
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(rows[i]) for i in some], batch_first=True)
        with torch.inference_mode():
            logits = vlm.logits(vlm.decoder(input_ids=ids).last_hidden_state)
            nll = torch.nn.functional.cross_entropy(logits[:, 1:-1].transpose(1, 2), ids[:, 2:], reduction="none")
        for row, i in zip(nll, some, strict=True):
            count = len(rows[i]) - 2
            out[i] = Surprise(float(row[:count].mean()), count)
    return out


@lru_cache(maxsize=1)
def _loaded() -> Any:
    from textunlearn.recipe import ModelSpec
    from textunlearn.vlm.load import BUILTIN, load

    # On the CPU in float32 whatever the judged model runs on: verdicts must not depend on the machine.
    return load(ModelSpec(id=BUILTIN, device="cpu", dtype="float32"))
