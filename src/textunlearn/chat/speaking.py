"""Answers as they are said: several rows at once, each with its own length, temperature, seed and stop words, each to be broken off.

The terminal puts one row, the server as many as wait. What a row says does not depend on the others: it is greedy, or drawn with a
generator of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from textunlearn.evaluation.generation import Request, run

if TYPE_CHECKING:
    import torch

    from textunlearn.vlm.load import Vlm

Ending = Literal["stop", "length", "time", "left"]
"""stop: the model ended its turn, or said a stop word. length: cut at the token limit. time: cut at the time limit. left: broken off."""
UNDECIDED = "\ufffd"
"""What tokenizers give for a character of which only some bytes are said yet."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How one answer is decoded. The default is the evaluation's: greedy.

    Attributes:
        tokens: length, at most.
        temperature: 0 for greedy.
        top_p: share of the probability that is drawn from.
        stop: words that end the answer and are not part of it.
        seed: of the draws: the same seed draws the same answer.
        seconds: time, at most, from when its batch begins; None for no limit.
    """

    tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An answer. ``tokens``: how many it took, without the one that ends the turn."""

    text: str
    tokens: int
    ending: Ending


def speak(
    vlm: Vlm,
    asked: Sequence[Request],
    how: Sequence[Decoding],
    heard: Callable[[int, str], None] = lambda row, piece: None,
    ended: Callable[[int, Said], None] = lambda row, said: None,
    left: Callable[[int], bool] = lambda row: False,
    *,
    share: bool = True,
) -> list[Said]:
    """Answers to requests with equally many pictures, in their order.

    Args:
        how: a row's decoding each.
        heard: gets ``(row, piece)`` as it is said; the pieces of a row make up its text.
        ended: gets ``(row, answer)`` as soon as that row is done, before the others may be.
        left: whether nobody wants a row's answer any more; asked after every token.
        share: as in `evaluation.generation.run`.
    """
    import torch
    from transformers import LogitsProcessorList, StoppingCriteriaList

    stops = frozenset(vlm.stop_ids())
    rows = [_Row(vlm.tokenizer, stops, one, time.monotonic()) for one in how]
    room = _room(vlm, max(len(r.ids) for r in asked))

    def listen(ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        for number, token in enumerate(ids[:, -1].tolist()):
            row = rows[number]
            if row.said is not None:
                continue
            piece = row.take(token, left(number))
            if piece:
                heard(number, piece)
            if row.said is not None:
                ended(number, row.said)
        return torch.tensor([row.said is not None for row in rows], device=ids.device)

    draws = _Draws([one if one.temperature > 0 else None for one in how])
    run(
        vlm,
        asked,
        None,
        max_new_tokens=min(max(one.tokens for one in how), room),
        share=share,
        stopping_criteria=StoppingCriteriaList([listen]),  # type: ignore[list-item]
        logits_processor=LogitsProcessorList([draws] if draws.any else []),  # type: ignore[list-item]
    )
    for number, row in enumerate(rows):
        if row.said is None:  # the context is full
            if piece := row.end("length"):
                heard(number, piece)
            assert row.said is not None
            ended(number, row.said)
    return [row.said for row in rows if row.said is not None]


def _room(vlm: Vlm, longest: int) -> int:
    """Tokens that fit behind a request of so many; where the model does not say how much it holds, as many as one likes."""
    most = getattr(vlm.base.config.get_text_config(), "max_position_embeddings", None)
    return max(1, most - longest) if isinstance(most, int) else 1 << 30


@dataclass
class _Row:
    tokenizer: Any
    stops: frozenset[int]
    how: Decoding
    began: float
    ids: list[int] = field(default_factory=list)
    given: int = 0
    """Characters that were handed on."""
    said: Said | None = None

    def take(self, token: int, left: bool) -> str:
        """The next token; returns what of the answer can be handed on, and sets ``said`` where it ends."""
        if left:
            return self.end("left")
        if token in self.stops:
            return self.end("stop")
        self.ids.append(token)
        text = self._text()
        if (at := self._stop_word(text)) is not None:
            return self.end("stop", at)
        if len(self.ids) >= self.how.tokens:
            return self.end("length")
        if self.how.seconds is not None and time.monotonic() - self.began > self.how.seconds:
            return self.end("time")
        return self._next(text[: self._sure(text)])

    def end(self, ending: Ending, at: int | None = None) -> str:
        text = self._text()[:at]
        self.said = Said(text, len(self.ids), ending)
        return self._next(text)

    def _text(self) -> str:
        return str(self.tokenizer.decode(self.ids, skip_special_tokens=True))

    def _next(self, text: str) -> str:
        piece, self.given = text[self.given :], max(self.given, len(text))
        return piece

    def _stop_word(self, text: str) -> int | None:
        found = [at for word in self.how.stop if (at := text.find(word)) >= 0]
        return min(found, default=None)

    def _sure(self, text: str) -> int:
        """How much of it will stay, whatever comes: not half a character, nor what may become a stop word."""
        sure = len(text.rstrip(UNDECIDED)) if text.endswith(UNDECIDED) else len(text)
        for word in self.how.stop:
            for length in range(min(len(word) - 1, len(text)), 0, -1):
                if text.endswith(word[:length]):
                    sure = min(sure, len(text) - length)
                    break
        return sure


class _Draws:
    """Draws each row's token by itself inside greedy decoding: the highest of logits and Gumbel noise is a draw from their softmax."""

    def __init__(self, how: Sequence[Decoding | None]) -> None:
        import torch

        self.how = how
        self.any = any(one is not None for one in how)
        self.lots = [torch.Generator().manual_seed(one.seed) if one is not None else None for one in how]

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        out = scores.clone()
        for number, (one, lots) in enumerate(zip(self.how, self.lots, strict=True)):
            if one is None or lots is None:
                continue
            row = scores[number].float() / one.temperature
            if one.top_p < 1:
                ranked, order = row.sort(descending=True)
                before = ranked.softmax(-1).cumsum(-1) - ranked.softmax(-1)
                row[order[before > one.top_p]] = -torch.inf  # the first always stays
            uniform = torch.rand(row.shape, generator=lots).clamp_(1e-20, 1 - 1e-7)
            out[number] = (row - (-uniform.log()).log().to(row.device)).to(out.dtype)
        return out
