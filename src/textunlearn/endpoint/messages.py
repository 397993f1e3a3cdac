"""What is said to an endpoint and what it says back, and the JSON of a chat (OpenAI's chat completions)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError
from textunlearn.sounds import open_sound, wav

if TYPE_CHECKING:
    from textunlearn.records import Case

_KINDS = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))
"""How the files of the picture formats that endpoints take begin."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Pictures, then sounds, come before the words. A last turn of the ``assistant`` has begun, and the model goes on with it."""

    role: str
    text: str
    images: tuple[Path, ...] = ()
    sounds: tuple[Path, ...] = ()


Chat = Sequence[Message]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the model's turn, or why there is none. ``text`` is without the words the answer had begun with."""

    text: str
    tokens: int
    """As the server counts them (most count the token that ends the turn); 0 where it does not say."""
    finished: bool
    error: str = ""
    """Why there is no answer; "" where there is one, be it empty."""


def chat_of(case: Case, folder: Path) -> list[Message]:
    """The chat that puts ``case`` to a model. ``folder``: what its image paths are relative to."""
    images, sounds = (tuple(folder / path for path in paths) for paths in (case.images, case.sounds))
    chat = [Message("user", case.text, images, sounds)]
    return [*chat, Message("assistant", case.prefill)] if case.prefill else chat


def begun(chat: Chat) -> bool:
    """Whether the model's turn has begun in ``chat``."""
    return bool(chat) and chat[-1].role == "assistant"


def message_json(message: Message) -> dict[str, Any]:
    """One message as the endpoint takes it; each picture as a data URI of the file's own bytes, each sound as WAV in base64.
    UserError for one that cannot be read."""
    if not message.images and not message.sounds:
        return {"role": message.role, "content": message.text}
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": data_uri(image)}} for image in message.images
    ]
    for sound in message.sounds:
        data = base64.b64encode(wav(open_sound(sound))).decode()
        parts.append({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
    if message.text:
        parts.append({"type": "text", "text": message.text})
    return {"role": message.role, "content": parts}


def data_uri(path: Path) -> str:
    """The picture's bytes as they are stored, in base64."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no image {path}") from None
    except OSError as error:
        raise UserError(f"the image {path} cannot be read: {error.strerror}") from None
    kind = next((name for start, name in _KINDS if data.startswith(start)), None)
    if kind is None:
        raise UserError(f"the image {path} is no PNG, JPEG, GIF or WebP file, which is what endpoints take; convert it")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
