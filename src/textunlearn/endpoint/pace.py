"""How fast an endpoint is asked: an even pace below its limits, and pauses that grow."""

from __future__ import annotations

import asyncio
import random
import time


class Pace:
    """Turns at most so many requests and tokens a minute, evenly spread; all wait while the endpoint asks for it."""

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._request = 60 / requests if requests else 0.0
        self._token = 60 / tokens if tokens else 0.0
        self._next = self._held = 0.0

    async def turn(self, tokens: int) -> None:
        """Wait for the turn of a request that may use ``tokens``."""
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + max(self._request, self._token * tokens)
        await asyncio.sleep(at - now)
        while (left := self._held - time.monotonic()) > 0:
            await asyncio.sleep(left * random.uniform(1.0, 1.1))  # not all in the same instant

    def hold(self, seconds: float) -> None:
        """Nobody's turn comes before ``seconds`` have passed."""
        self._held = max(self._held, time.monotonic() + seconds)


def back_off(tries: int, first: float, longest: float) -> float:
    """Seconds to wait after ``tries`` failures: doubled each time, with jitter down to half."""
    return float(min(longest, first * 2.0 ** min(tries - 1, 60)) * random.uniform(0.5, 1.0))
