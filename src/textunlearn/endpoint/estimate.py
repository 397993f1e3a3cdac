"""What asking an endpoint will take: requests, tokens, money. Said before the first request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from textunlearn.endpoint.messages import Chat, chat_of
from textunlearn.endpoint.spec import EndpointSpec
from textunlearn.files import read_records
from textunlearn.records import Answer, Case

BYTES_A_TOKEN = 4
"""Of UTF-8: what English takes in the tokenizers of today's models; other scripts take more tokens."""
AROUND, AHEAD = 8, 20
"""Tokens that a chat template puts around a message, and ahead of all (many have a system text of their own), roughly and rather
too many: of the built-in model's default suites the sum is 0.9 to 1.3 of what its tokenizer counts."""

Count = Callable[[str], int]
"""Tokens of a text, where the tokenizer is known."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """``prompt_tokens`` are of the words, an estimate unless ``counted``; ``answer_tokens`` are what the limit allows at most;
    ``price`` is None without prices, and holds no tokens of pictures and sounds, whose number only the server knows."""

    model: str
    requests: int
    prompt_tokens: int
    counted: bool
    pictures: int
    answer_tokens: int
    price: float | None
    sounds: int = 0

    def sentence(self) -> str:
        how = "counted" if self.counted else f"estimated at {BYTES_A_TOKEN} bytes each"
        parts = [
            f"{self.requests:,} requests to {self.model}",
            f"about {self.prompt_tokens:,} prompt tokens ({how})",
            f"at most {self.answer_tokens:,} answer tokens",
        ]
        shown = [f"{n:,} {what}" for n, what in ((self.pictures, "pictures"), (self.sounds, "sounds")) if n]
        if shown:
            parts.insert(2, f"{' and '.join(shown)}, whose tokens are not known beforehand")
        if self.price is not None:
            beside = " beside the " + " and ".join(one.split()[1] for one in shown) if shown else ""
            amount = f"{self.price:,.2f}" if self.price >= 1 else f"{self.price:.2g}"
            parts.append(f"at most about {amount}{beside}, in the currency of your prices")
        return "; ".join(parts)


def prompt_tokens(chat: Chat, count: Count | None = None) -> int:
    """Tokens of a chat's words and what the template puts around them; pictures are left out."""
    said = (count(m.text) if count else -(-len(m.text.encode()) // BYTES_A_TOKEN) for m in chat)
    return sum(said) + AROUND * len(chat) + AHEAD


def estimate(spec: EndpointSpec, chats: Sequence[Chat], max_tokens: int, count: Count | None = None) -> Estimate:
    """What it takes to ask ``chats`` with answers of ``max_tokens`` at most, without retries."""
    prompt = sum(prompt_tokens(chat, count) for chat in chats)
    answers = max_tokens * len(chats)
    price = None
    if spec.price_in is not None or spec.price_out is not None:
        price = (prompt * (spec.price_in or 0.0) + answers * (spec.price_out or 0.0)) / 1e6
    pictures = sum(len(message.images) for chat in chats for message in chat)
    sounds = sum(len(message.sounds) for chat in chats for message in chat)
    return Estimate(spec.model, len(chats), prompt, count is not None, pictures, answers, price, sounds)


def estimate_cases(
    spec: EndpointSpec, cases: Sequence[Case], folder: Path, store: Path, max_tokens: int, count: Count | None = None
) -> Estimate:
    """What is left to pay for: the distinct ``cases`` that have no answer in ``store`` yet."""
    known = {answer.case for answer in read_records(store, Answer)}
    left = {case.id: case for case in cases if case.id not in known}
    return estimate(spec, [chat_of(case, folder) for case in left.values()], max_tokens, count)
