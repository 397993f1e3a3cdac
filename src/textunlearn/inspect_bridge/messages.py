"""Inspect's chats as ours: turns, the pictures they show, and the words with which the model's turn has begun."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inspect_ai.model import ChatMessage, ContentAudio, ContentImage, ContentReasoning, ContentText

from textunlearn.errors import UserError
from textunlearn.vlm.model import Content, Medium

ROLES = {"system", "user", "assistant"}


@dataclass(frozen=True)
class Chat:
    """``turns``: role and content of each (`Vlm.text_of_chat`); ``pictures`` and ``sounds`` in their order."""

    turns: tuple[tuple[str, tuple[Content, ...]], ...]
    pictures: tuple[Path, ...]
    prefill: str
    """What the model's own turn has begun with, where the last message is an assistant's."""
    sounds: tuple[Path, ...] = ()


def chat_of(messages: Sequence[ChatMessage], folder: Path) -> Chat:
    """The chat of ``messages``. Pictures and sounds that are data URIs become files below ``folder``, each once.

    UserError for what no model of ours takes: tool calls and their results, video, documents, pictures behind a web address.
    """
    pictures: list[Path] = []
    sounds: list[Path] = []
    turns: list[tuple[str, tuple[Content, ...]]] = []
    for message in messages:
        if message.role not in ROLES or getattr(message, "tool_calls", None):
            raise UserError("models of textunlearn call no tools; leave the tools out of this task")
        content = [message.content] if isinstance(message.content, str) else message.content
        parts: list[Content] = []
        for part in content:
            if isinstance(part, str | ContentText):
                parts.append(part if isinstance(part, str) else part.text)
            elif isinstance(part, ContentImage):
                parts.append(None)
                pictures.append(file_of(part.image, folder))
            elif isinstance(part, ContentAudio):
                parts.append(Medium.SOUND)
                sounds.append(file_of(part.audio, folder))
            elif not isinstance(part, ContentReasoning):  # of another model, and no part of what it said
                raise UserError(
                    f"models of textunlearn take words, pictures and sounds, and this chat has {part.type} content"
                )
        turns.append((message.role, tuple(parts)))
    prefill = ""
    if turns and turns[-1][0] == "assistant":
        prefill = "".join(part for part in turns.pop()[1] if isinstance(part, str))
    return Chat(tuple(turns), tuple(pictures), prefill, tuple(sounds))


def file_of(given: str, folder: Path) -> Path:
    """The file that ``given`` names, or a new one below ``folder`` with what the data URI holds."""
    if given.startswith("data:"):
        head, _, data = given.partition(",")
        try:
            if not head.endswith(";base64"):
                raise ValueError("not base64")
            content = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise UserError(
                f"a picture's or sound's data URI cannot be read ({error}); give it as base64 or as a file"
            ) from None
        path = folder / hashlib.sha256(content).hexdigest()
        if not path.exists():
            path.write_bytes(content)
        return path
    if "://" in given and not given.startswith("file://"):
        raise UserError(f"the picture or sound {given} is not on this machine; give it as a file or as a data URI")
    return Path(given.removeprefix("file://"))
