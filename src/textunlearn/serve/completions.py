"""OpenAI's chat completions: https://platform.openai.com/docs/api-reference/chat, as far as a model here can do it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from textunlearn.chat.conversation import Turn
from textunlearn.chat.speaking import Decoding, Said
from textunlearn.serve.bodies import Body, Text, picture, require_short, require_tokens
from textunlearn.serve.engine import Ask
from textunlearn.serve.limits import Limits, Refused
from textunlearn.serve.pair import ALIGNED, ORIGINAL

MODELS: Mapping[str, float] = {"original": ORIGINAL, "aligned": ALIGNED}
"""Names of models, and how much of the adapter each has."""
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
FINISH: Mapping[str, str] = {"stop": "stop", "length": "length", "time": "length", "left": "stop"}
UNABLE = ("tools", "tool_choice", "functions", "function_call", "logprobs", "top_logprobs", "logit_bias", "audio", "modalities",
          "response_format", "prediction", "web_search_options")  # fmt: skip
"""What would change the answer and cannot be done; null, false and nothing at all are no demand."""
TEXT = {"type": "text"}


class Part(Body):
    """A piece of a message."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Text
    text: Text | None = None
    image_url: dict[str, Any] | Text | None = None


class MessageBody(Body):
    """A turn. Further keys (names, reasoning of other models) change nothing here."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    role: Text
    content: Text | list[Part] | None = None


class Options(Body):
    """Of a stream."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    include_usage: bool = False


class ChatBody(Body):
    """A request. Keys that change no answer (user, metadata, store) are let pass; those that would are refused by name."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    model: Text
    messages: list[MessageBody] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    presence_penalty: float | None = Field(None, ge=0, le=0)
    frequency_penalty: float | None = Field(None, ge=0, le=0)
    n: int | None = Field(None, ge=1, le=1)
    stop: Text | list[Text] | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: Options | None = None
    continue_final_message: bool = False
    """As in vLLM: the last message is the beginning of the model's answer, which it goes on with."""
    add_generation_prompt: bool = True
    """As in vLLM, where it goes with that; here a turn of the model's is always begun."""
    strength: float | None = Field(None, ge=0, le=1)
    """Ours: how much of the adapter counts, 0 to 1; by default what the model's name says."""


def ask_of(body: ChatBody, folder: Path, limits: Limits) -> Ask:
    """What the engine is asked. Pictures are written into ``folder``. Refused for what cannot be done."""
    if body.model not in MODELS:
        known = " and ".join(MODELS)
        raise Refused(
            404, f"there is no model {body.model[:80]!r} here; there are {known}", code="model_not_found", param="model"
        )
    for name in UNABLE:
        wanted = (body.model_extra or {}).get(name)
        if wanted and wanted != TEXT:
            raise Refused(
                400, f"this server does not know {name}; leave it out", code="unsupported_parameter", param=name
            )
    tokens = body.max_completion_tokens or body.max_tokens
    if tokens is not None:
        require_tokens(tokens, limits, "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens")
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if len(stop) > 16 or not all(stop):
        raise Refused(400, "stop takes up to 16 strings that are not empty", param="stop")
    if len(body.messages) > limits.messages:
        raise Refused(400, f"there are more than {limits.messages} messages; leave out the oldest", param="messages")

    images: list[Path] = []
    turns = [_turn(message, number, images, folder, limits) for number, message in enumerate(body.messages)]
    require_short((words for _, content in turns for words in content if words), limits)
    prefill = ""
    if body.continue_final_message:
        role, content = turns.pop()
        if role != "assistant" or not turns:
            raise Refused(
                400,
                "continue_final_message goes on with the assistant's last message, and there is none",
                param="messages",
            )
        prefill = "".join(words or "" for words in content)
    how = Decoding(
        tokens or min(256, limits.tokens),
        0.0 if body.temperature is None else body.temperature,
        1.0 if body.top_p is None else body.top_p,
        stop,
        secrets.randbits(62) if body.seed is None else body.seed % (1 << 62),
        limits.seconds,
    )
    strength = MODELS[body.model] if body.strength is None else body.strength
    return Ask(tuple(turns), tuple(images), prefill, strength, how)


def _turn(message: MessageBody, number: int, images: list[Path], folder: Path, limits: Limits) -> Turn:
    place = f"messages.{number}"
    role = ROLES.get(message.role)
    if role is None:
        raise Refused(400, f"{place} has the role {message.role[:40]!r}; there are {', '.join(ROLES)}", param=place)
    content: list[str | None] = []
    for part in [message.content] if isinstance(message.content, str) else message.content or []:
        if isinstance(part, str):
            content.append(part)
        elif part.type == "text" and part.text is not None:
            content.append(part.text)
        elif part.type == "image_url" and part.image_url is not None and role == "user":
            uri = part.image_url if isinstance(part.image_url, str) else part.image_url.get("url")
            if len(images) == limits.pictures:
                raise Refused(400, f"there are more than {limits.pictures} pictures; leave some out", param=place)
            images.append(picture(uri if isinstance(uri, str) else "", folder, limits))
            content.append(None)
        else:
            raise Refused(
                400,
                f"{place} has a part that is neither text nor, of a user, image_url; leave it out",
                param=place,
                code="unsupported_content",
            )
    if not content:
        raise Refused(400, f"{place} has no content; give it some", param=place)
    return role, tuple(content)


def models(created: int) -> dict[str, Any]:
    """The list of models."""
    entries = [{"id": name, "object": "model", "created": created, "owned_by": "textunlearn"} for name in MODELS]
    return {"object": "list", "data": entries}


class Wording:
    """The JSON of one completion, whole or in chunks."""

    def __init__(self, model: str) -> None:
        self.model, self.id, self.created = model, f"chatcmpl-{secrets.token_hex(12)}", int(time.time())

    def _of(self, what: Literal["chat.completion", "chat.completion.chunk"], choices: list[Any]) -> dict[str, Any]:
        return {"id": self.id, "object": what, "created": self.created, "model": self.model, "choices": choices}

    def whole(self, said: Said, prompt_tokens: int) -> dict[str, Any]:
        """The completion."""
        message = {"role": "assistant", "content": said.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH[said.ending]}
        return self._of("chat.completion", [choice]) | {"usage": usage(said, prompt_tokens)}

    def chunk(self, delta: dict[str, str], said: Said | None = None) -> dict[str, Any]:
        """A piece; ``said``: of the last one."""
        finish = None if said is None else FINISH[said.ending]
        return self._of(
            "chat.completion.chunk", [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        )

    def last(self, said: Said, prompt_tokens: int) -> dict[str, Any]:
        """What comes behind the pieces where ``stream_options.include_usage`` wants it."""
        return self._of("chat.completion.chunk", []) | {"usage": usage(said, prompt_tokens)}


def usage(said: Said, prompt_tokens: int) -> dict[str, int]:
    """Tokens of prompt and answer."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": said.tokens,
        "total_tokens": prompt_tokens + said.tokens,
    }
