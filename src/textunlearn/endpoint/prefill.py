"""How an endpoint goes on with an answer that has begun, found out by trying.

No model can be relied on to show it in words, so the server's own count of prompt tokens decides: an answer that goes on costs
no tokens for the end of one turn and the start of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from textunlearn.endpoint.messages import Message
from textunlearn.endpoint.wire import Completion, Trouble
from textunlearn.errors import UserError

FIELDS: dict[str, Any] = {"continue_final_message": True, "add_generation_prompt": False}
"""vLLM's and SGLang's."""
CLOSED: dict[str, Any] = {"continue_final_message": False, "add_generation_prompt": False}
"""Ends the turn and begins none. Only the field in question differs: some servers know the other alone."""
ASKED, BEGUN = "Please count from one to six.", "one two three four"
"""What the probes say. ``BEGUN`` follows ``ASKED`` after a space in one of them: the same words cost the same tokens there."""

Probe = tuple[Sequence[Message], dict[str, Any]]
Ask = Callable[[Sequence[Probe]], list[Completion | Trouble]]
"""Puts probes to the endpoint, one token of answer each."""


@dataclass(frozen=True, slots=True)
class Style:
    """``fields``: what goes into the body beside the chat. ``echo``: the reply repeats the words that the answer began with."""

    fields: dict[str, Any]
    echo: bool


def find(ask: Ask, wanted: str) -> Style | None:
    """The way that works; None if none is known to. ``wanted``: fields, plain, or auto for either.

    UserError if the endpoint does not even answer a plain question.
    """
    chat = [Message("user", ASKED), Message("assistant", BEGUN)]
    if wanted in {"auto", "fields"}:
        going_on, closed = ask([(chat, FIELDS), (chat, CLOSED)])
        # Servers that do not know the fields refuse them or pay them no heed; then both cost the same.
        if isinstance(going_on, Completion) and (wanted == "fields" or _fewer(going_on, closed)):
            return Style(FIELDS, _echoes(going_on))
    if wanted in {"auto", "plain"}:
        bare, both, plain = ask([([chat[0]], {}), ([Message("user", f"{ASKED} {BEGUN}")], {}), (chat, {})])
        if isinstance(bare, Trouble):
            raise UserError(f"the endpoint does not answer: {bare.words}")
        if isinstance(plain, Completion) and (wanted == "plain" or _echoes(plain) or _adds_as_much(bare, both, plain)):
            return Style({}, _echoes(plain))
    return None


def _echoes(reply: Completion) -> bool:
    """One token cannot say four words; they are the server's."""
    return reply.text.lstrip().startswith(BEGUN)


def _fewer(going_on: Completion, closed: Completion | Trouble) -> bool:
    """Whether ``closed`` is known to cost more: the end of the turn."""
    if isinstance(closed, Trouble) or going_on.prompt_tokens is None or closed.prompt_tokens is None:
        return False
    return going_on.prompt_tokens < closed.prompt_tokens


def _adds_as_much(*replies: Completion | Trouble) -> bool:
    """Whether ``BEGUN`` as the beginning of an answer costs no more than the same words at the end of the question."""
    counts = [reply.prompt_tokens for reply in replies if isinstance(reply, Completion)]
    known = [count for count in counts if count is not None]
    if len(known) < len(replies):
        return False
    bare, both, plain = known
    return bare < plain <= both
