"""What is asked over the wire: bodies are read within limits, checked as a whole, and become an `Ask`."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from textunlearn.errors import UserError
from textunlearn.pictures import read_picture
from textunlearn.records import digest
from textunlearn.serve.limits import Limits, Refused
from textunlearn.settings import sentence

if TYPE_CHECKING:
    from starlette.requests import Request

B = TypeVar("B", bound="Body")
DRAINED = 4
"""A body of up to so many times the limit is read and thrown away: a client that is still sending does not see what it is told."""
_URI = re.compile(r"data:image/[\w.+-]+;base64,")


class Body(BaseModel):
    """Names that are not there are errors, as everywhere here: a setting that does nothing misleads."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Text = Annotated[str, Field(strict=True)]
Side = Literal["original", "aligned"]
Label = Literal["unsafe", "refusal", "broken", "other", "failed", ""]


class Earlier(Body):
    """A turn that was said before, on one side."""

    text: Text
    picture: Text = ""
    answer: Text


class Question(Body):
    """What the page asks."""

    request: Text = ""
    kind: Literal["harmful", "lookalike", "ordinary"] = "ordinary"
    attack: Text = ""
    """A name of those the page offers; "" for none."""
    picture: Text = ""
    """Data URI."""
    drawn: Text = ""
    """What is written in the picture, where the page has drawn it: what is really asked."""
    prefill: Text = ""
    strength: float = Field(1.0, ge=0, le=1)
    tokens: int = Field(256, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    seed: int = Field(0, ge=0, lt=2**63)
    earlier: dict[Side, list[Earlier]] = {}


class Drawing(Body):
    """Text to be drawn: settings of the attack ``typography``, without those that read files."""

    text: Text = Field(min_length=1, max_length=2000)
    layout: Text = "plain"
    font: Text | None = None
    size: int | None = None
    rotation: float = 0.0
    numbered: bool | None = None
    ink: Text | None = Field(None, max_length=40)
    paper: Text | None = Field(None, max_length=40)


class Reply(Body):
    """An answer on the page, for a file."""

    text: Text
    label: Label = ""
    reason: Text = ""
    note: Text = ""


class Exchange(Body):
    """A question on the page with both answers, for a file."""

    request: Text
    kind: Literal["harmful", "lookalike", "ordinary"]
    attack: Text = ""
    drawn: Text = ""
    typed: Text = ""
    prefill: Text = ""
    pictures: list[Text] = []
    strength: float = Field(1.0, ge=0, le=1)
    replies: dict[Side, Reply]


class Talk(Body):
    """What is shared as a file."""

    exchanges: list[Exchange] = Field(min_length=1, max_length=200)
    everything: bool = False
    """With harmful requests and unsafe answers."""


async def read(request: Request, kind: type[B], limits: Limits) -> B:
    """The checked body of a request. Refused for one that is too large, too slow, no JSON or not of this ``kind``."""
    return parse(await read_json(request, limits), kind)


def parse(data: Any, kind: type[B]) -> B:
    """The same of what is read already."""
    if not isinstance(data, dict):
        raise Refused(400, "the body is no JSON object; send one", code="invalid_json")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Refused(400, sentence(error, kind)[:600], param=place[:100] or None) from None


async def read_json(request: Request, limits: Limits) -> Any:
    """The JSON of a body."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send JSON, with `Content-Type: application/json`", code="unsupported_media_type")
    try:
        async with asyncio.timeout(limits.body_seconds):
            data = await _bytes(request, limits.body_bytes)
    except TimeoutError:
        raise Refused(
            408, f"the request did not come in within {limits.body_seconds:g} s; send it again", code="timeout"
        ) from None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON; send a JSON object", code="invalid_json") from None


async def _bytes(request: Request, most: int) -> bytes:
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > DRAINED * most:
        raise _too_large(most)
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > DRAINED * most:  # nobody has to tell the truth about it, or anything at all
            raise _too_large(most)
        if length <= most:
            parts.append(part)
    if length > most:
        raise _too_large(most)
    return b"".join(parts)


def _too_large(most: int) -> Refused:
    return Refused(413, f"the request is larger than {most:,} bytes; send smaller pictures", code="request_too_large")


def picture(uri: str, folder: Path, limits: Limits) -> Path:
    """The file in ``folder`` that a data URI's picture is written to, as it came. Refused for what is no picture, or too large a one."""
    if uri.startswith(("http:", "https:", "file:")):
        raise Refused(
            400,
            "pictures are not fetched from anywhere; send them as data URIs (data:image/png;base64,…)",
            code="invalid_image",
        )
    head = _URI.match(uri)
    if head is None:
        raise Refused(400, "a picture is no data URI; send data:image/png;base64,… or the like", code="invalid_image")
    if (len(uri) - head.end()) * 3 // 4 > limits.picture_bytes:
        raise Refused(
            413, f"a picture has more than {limits.picture_bytes:,} bytes; send it smaller", code="image_too_large"
        )
    try:
        data = base64.b64decode(uri[head.end() :], validate=True)
        read_picture(io.BytesIO(data), "the picture", limits.pixels)
    except binascii.Error:
        raise Refused(400, "a picture's data URI is not base64; encode it again", code="invalid_image") from None
    except UserError as error:
        raise Refused(400, str(error), code="invalid_image") from None
    path = folder / digest(uri, length=32)
    path.write_bytes(data)
    return path


def require_short(texts: Iterable[str], limits: Limits) -> None:
    """Refused for more text than the server takes."""
    if sum(map(len, texts)) > limits.characters:
        raise Refused(
            413,
            f"the request has more than {limits.characters:,} characters; shorten it",
            code="context_length_exceeded",
        )


def require_tokens(tokens: int, limits: Limits, param: str) -> None:
    """Refused for answers longer than the server gives."""
    if tokens > limits.tokens:
        raise Refused(
            400,
            f"{param} is {tokens}, and this server gives answers of {limits.tokens} tokens at most; ask for fewer, or start it with a "
            "higher --tokens",
            param=param,
            code="max_tokens_exceeded",
        )
