"""A key, of an endpoint that is asked or of our own server: read from the environment, put into one header, and shown nowhere else."""

from __future__ import annotations

import hmac
import os
import re

from textunlearn.errors import UserError

HIDDEN = "[key]"
_SECRET = 8
"""A shorter key is no secret but a word such as EMPTY, which servers without keys are given; an answer may hold it."""
_LONG, _BEGINNING = 12, 6
"""A key of so many characters is also known by its beginning: servers quote keys with the middle starred out."""


class Key:
    """A secret that shows itself in no repr. Frames that hold it as plain text are left before an error leaves this module."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value.strip()

    def __repr__(self) -> str:
        return "Key()" if not self._value else f"Key({HIDDEN})"

    def __bool__(self) -> bool:
        return bool(self._value)

    @classmethod
    def read(cls, variable: str | None, named_by: str = "endpoint.key_env", what: str = "the endpoint's key") -> Key:
        """The key that the environment variable holds; none where no variable is named. UserError if it is unset or unusable.

        Args:
            named_by: the setting that names the variable, for errors.
        """
        if variable is None:
            return cls()
        key = cls(os.environ.get(variable, ""))
        if not key:
            raise UserError(
                f"the environment variable {variable}, which {named_by} names, is not set; put {what} into it"
            )
        if not key._fits_a_header():
            raise UserError(
                f"the environment variable {variable} holds spaces or signs that no key has; set it to the key alone"
            )
        return key

    def _fits_a_header(self) -> bool:
        return all("!" <= character <= "~" for character in self._value)

    def header(self, name: str) -> dict[str, str]:
        """The header that carries the key; none without a key."""
        if not self._value:
            return {}
        return {name: f"Bearer {self._value}" if name.lower() == "authorization" else self._value}

    def opens(self, header: str) -> bool:
        """Whether an ``Authorization`` header carries this key; takes as long for every wrong one."""
        return bool(self._value) and hmac.compare_digest(header.encode(), f"Bearer {self._value}".encode())

    def redact(self, text: str) -> str:
        """``text`` without the key."""
        return text.replace(self._value, HIDDEN) if len(self._value) >= _SECRET else text

    def redact_error(self, text: str) -> str:
        """A server's message without the key, be it whole or with its end starred out."""
        text = self.redact(text)
        if len(self._value) >= _LONG:
            text = re.sub(re.escape(self._value[:_BEGINNING]) + r"[^\s\"'<>]*", HIDDEN, text)
        return text
