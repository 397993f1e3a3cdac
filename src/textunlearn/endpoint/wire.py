"""What a server's response says: an answer, or trouble of a known kind.

Servers word their errors differently; those of OpenAI, vLLM, llama.cpp, `transformers serve` (FastAPI) and OpenRouter are read.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal["stop", "limit", "again", "case", "filtered"]
"""stop: no request can succeed. limit: too many requests, all must wait. again: may work in a while. case: this request alone
cannot be answered. filtered: the platform, not the model, withheld the answer."""

WORDS = 300
"""Characters of a server's message that are passed on."""
_FILTER = re.compile(r"content[_ -]?filter|content[_ -]?policy|moderation|flagged|responsible_?ai", re.IGNORECASE)
_MODEL = re.compile(
    r"model_not_found|invalid_model|\bmodel\b.{0,120}(does not exist|not found|not exist|unknown)", re.I
)
_QUOTA = re.compile(r"insufficient_quota|billing|payment", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer. ``prompt_tokens`` is None and ``tokens`` 0 where the server does not count."""

    text: str
    tokens: int
    finished: bool
    prompt_tokens: int | None = None
    model: str = ""
    """What the server calls the model that answered."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer. ``wait``: seconds the server asks to be left alone."""

    kind: Kind
    words: str
    wait: float | None = None


def read(status: int, headers: Mapping[str, str], body: bytes) -> Completion | Trouble:
    """What a response says. ``headers``: with names in lower case, or a mapping that does not care."""
    data = _json(body)
    if status == 200 and isinstance(data, dict):
        if isinstance(data.get("choices"), list) and data["choices"]:
            return _completion(data)
        if "error" in data:  # a router's upstream failed after it had said 200
            code = _part(data, "code")
            known = int(code) if code.isdecimal() and 400 <= int(code) < 600 else 500
            return replace(_trouble(known, data, body), wait=pause(headers))
    if status == 200:
        return Trouble("again", "the endpoint's response is not the JSON of a chat completion")
    return replace(_trouble(status, data, body), wait=pause(headers))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _completion(data: dict[str, Any]) -> Completion | Trouble:
    choice = _mapping(data["choices"][0])
    message, usage = _mapping(choice.get("message")), _mapping(data.get("usage"))
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        return Trouble("filtered", "the endpoint's content filter withheld the answer")
    if reason == "error":
        return Trouble("again", "the endpoint broke off the answer with an error")
    refusal = message.get("refusal")
    text = message.get("content")
    if text is None and isinstance(refusal, str):
        text = refusal  # the model's own words, in a field of their own
    if not text and _thought(message):
        return Trouble("case", "the model spent all its tokens on thinking; allow longer answers, or turn thinking off")
    if not isinstance(text, str):
        what = "called a tool" if message.get("tool_calls") else "sent a message without text"
        return Trouble("case", f"the endpoint {what} instead of an answer")
    return Completion(
        text,
        _count(usage.get("completion_tokens")) or 0,
        reason != "length",
        _count(usage.get("prompt_tokens")),
        str(data.get("model") or ""),
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _thought(message: dict[str, Any]) -> bool:
    return any(isinstance(message.get(name), str) and message[name] for name in ("reasoning_content", "reasoning"))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _trouble(status: int, data: Any, body: bytes) -> Trouble:
    said = message_of(data, body)
    marks = " ".join((_part(data, "code"), _part(data, "type"), said))
    words = f"HTTP {status}" + (f": {said}" if said else "")
    # A request that was too harmful for the platform gets 400 or 403; it says nothing of the next one.
    if 400 <= status < 500 and status not in {401, 404, 429} and _FILTER.search(marks):
        return Trouble("filtered", words)
    if status in {401, 402, 403, 404} or 300 <= status < 400 or (status == 429 and _QUOTA.search(_part(data, "code"))):
        return Trouble("stop", words)
    if 400 <= status < 500 and status not in {408, 409, 425, 429} and _MODEL.search(marks):
        return Trouble("stop", words)
    if status == 429:
        return Trouble("limit", words)
    if status >= 500 or status in {408, 409, 425}:
        return Trouble("again", words)
    return Trouble("case", words)


def _part(data: Any, name: str) -> str:
    """``code`` or ``type`` of an error, wherever the server puts it."""
    error = _mapping(data).get("error")
    found = _mapping(error if isinstance(error, dict) else data).get(name)
    return str(found) if isinstance(found, str | int) else ""


def message_of(data: Any, body: bytes) -> str:
    """The server's own words in one line, not cut: the key must be looked for before."""
    if not isinstance(data, dict):
        text = body.decode(errors="replace").strip()
        return "" if text.startswith("<") else " ".join(text.split())  # a proxy's page says nothing
    error = data.get("error")
    found = error.get("message") if isinstance(error, dict) else error
    for other in ("detail", "message"):
        found = found or data.get(other)
    text = found if isinstance(found, str) else json.dumps(found) if found else ""
    return " ".join(text.split())


def pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for (RFC 9110: seconds or a date), or OpenAI's ``retry-after-ms``; None if nothing is said."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
            return float(value) * unit
    try:
        at = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return max(0.0, at.timestamp() - time.time())
