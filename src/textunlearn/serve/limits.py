"""What one client, and all together, may ask of the server; and how it is told that it was too much."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of requests. Each is answered with a JSON error that names it."""

    body_bytes: int = 16_000_000
    body_seconds: float = 20.0
    """For a request's body to come in."""
    picture_bytes: int = 8_000_000
    pixels: int = 16_000_000
    """Of one picture; more are refused before they are decoded."""
    pictures: int = 8
    messages: int = 64
    characters: int = 50_000
    """Of all text of a request."""
    tokens: int = 1024
    """Of an answer."""
    seconds: float = 120.0
    """For an answer; it is cut there."""
    wait: float = 120.0
    """Seconds in the queue."""
    waiting: int = 64
    """Answers in the queue."""
    rows: int = 16
    """Answers that are generated together."""
    asks: int = 120
    """Questions a minute and address."""
    draws: int = 900
    """Pictures of text, and attacks looked at, a minute and address."""


class Refused(Exception):
    """A request that is not served: the status and the error of its JSON, in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        wait: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.code, self.param, self.wait = (
            status,
            message,
            kind,
            code,
            param,
            wait,
        )

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": str(max(1, round(self.wait)))} if self.wait is not None else {}


class Rate:
    """So many events a minute and address, all at once or spread.

    Args:
        clock: seconds, of any origin.
    """

    ADDRESSES = 4096
    """That are remembered; the one that was longest silent is forgotten."""

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.a_minute, self.clock = a_minute, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> None:
        """Count one event; Refused (429) where there were too many."""
        now = self.clock()
        left, then = self._left.pop(address, (float(self.a_minute), now))
        left = min(float(self.a_minute), left + (now - then) * self.a_minute / 60)
        enough = left >= 1
        self._left[address] = (left - 1 if enough else left, now)
        if len(self._left) > self.ADDRESSES:
            self._left.popitem(last=False)
        if not enough:
            raise Refused(
                429,
                f"more than {self.a_minute} requests of this kind a minute; wait a little, or start the server with a higher --rate",
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                wait=(1 - left) * 60 / self.a_minute,
            )
