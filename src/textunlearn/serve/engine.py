"""The one thread that generates: what waits and is alike goes in one batch, in the order in which it came."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.chat.conversation import Turn, request_in
from textunlearn.chat.speaking import Decoding, Said, speak
from textunlearn.errors import UserError
from textunlearn.evaluation.batching import out_of_memory
from textunlearn.serve.limits import Limits, Refused

if TYPE_CHECKING:
    from textunlearn.evaluation.generation import Request
    from textunlearn.serve.pair import Pair


@dataclass(frozen=True, slots=True)
class Ask:
    """One answer that is wanted.

    Attributes:
        images: files, in the order of the None in ``turns``; they must stay until the answer is there.
        strength: how much of the adapter counts (`pair`).
    """

    turns: tuple[Turn, ...]
    images: tuple[Path, ...]
    prefill: str
    strength: float
    how: Decoding


class Stream:
    """An answer as it comes: ``async for piece in stream``, then ``said``. To be made where an event loop runs.

    A failure is raised from the loop: UserError for what the model cannot be asked, Refused for what the server has no room for.
    """

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.since = time.monotonic()
        self.left = False
        self.said: Said | None = None
        self.prompt_tokens = 0
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[str | Said | Exception] = asyncio.Queue()

    def leave(self) -> None:
        """Nobody wants the rest: generation of it stops at the next token."""
        self.left = True

    def put(self, event: str | Said | Exception) -> None:
        """From the engine's thread: a piece, the end, or a failure."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def __aiter__(self) -> AsyncIterator[str]:
        while True:
            event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Said):
                self.said = event
                return
            yield event


class Engine:
    """Starts its thread when made; `close` ends it.

    Attributes:
        endings: how many answers ended in which way (`speaking.Ending`, or "failed").
    """

    def __init__(self, pair: Pair, limits: Limits) -> None:
        self.pair, self.limits = pair, limits
        self.endings: Counter[str] = Counter()
        self._rows = limits.rows
        self._waiting: list[Stream] = []
        self._now: list[Stream] = []
        self._closed = False
        self._ready = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True, name="generation")
        self._thread.start()

    def submit(self, asks: Sequence[Ask]) -> list[Stream]:
        """Put questions into the queue; those of one call stand side by side. Refused (503) where it is full."""
        streams = [Stream(ask) for ask in asks]
        with self._ready:
            self._waiting = [stream for stream in self._waiting if not stream.left]
            if len(self._waiting) + len(streams) > self.limits.waiting:
                raise _busy(f"{len(self._waiting)} answers are waiting already")
            self._waiting += streams
            self._ready.notify()
        return streams

    @property
    def idle(self) -> bool:
        """Whether nothing is generated and nothing waits."""
        with self._ready:
            return not self._waiting and not self._now

    def close(self) -> None:
        """Break off what is being said, refuse what waits, and end the thread."""
        with self._ready:
            self._closed = True
            for stream in [*self._waiting, *self._now]:
                stream.leave()
            self._ready.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._ready:
                self._now = []
                while not self._waiting and not self._closed:
                    self._ready.wait()
                if self._closed:
                    for stream in self._waiting:
                        stream.put(_busy("the server stops"))
                    return
                self._now = self._next()
            self._generate(self._now)

    def _next(self) -> list[Stream]:
        """Takes out of the queue what goes into the next batch: the first, and what is like it."""
        first = self._alike(self._waiting[0])
        batch: list[Stream] = []
        for stream in list(self._waiting):
            if len(batch) < self._rows and self._alike(stream) == first:
                batch.append(stream)
                self._waiting.remove(stream)
        return batch

    def _alike(self, stream: Stream) -> tuple[Any, ...]:
        return (len(stream.ask.images), None if self.pair.mixes else stream.ask.strength)

    def _generate(self, batch: list[Stream]) -> None:
        asked: list[tuple[Stream, Request]] = []
        for stream in batch:
            if stream.left:
                continue
            try:
                if time.monotonic() - stream.since > self.limits.wait:
                    raise _busy(f"it waited for more than {self.limits.wait:g} s")
                ask = stream.ask
                request = request_in(self.pair.vlm, ask.turns, ask.images, ask.prefill)
                self.pair.vlm.require_fits(len(request.ids), "the request")
                stream.prompt_tokens = len(request.ids)
                asked.append((stream, request))
            except Exception as error:  # whatever it is, it is this client's answer and no end of the thread
                self._fail(stream, error)
        if not asked:
            return
        streams = [stream for stream, _ in asked]
        strengths = [stream.ask.strength for stream in streams]

        def ended(row: int, said: Said) -> None:
            self.endings[said.ending] += 1
            streams[row].put(said)

        try:
            with self.pair.at(strengths):
                speak(
                    self.pair.vlm,
                    [request for _, request in asked],
                    [stream.ask.how for stream in streams],
                    lambda row, piece: streams[row].put(piece),
                    ended,
                    lambda row: streams[row].left,
                    share=len(set(strengths)) == 1,
                )
        except Exception as error:
            if out_of_memory(error):
                self._rows = max(1, len(streams) // 2)
                error = _busy("memory ran out")
            for stream in streams:
                self._fail(stream, error)

    def _fail(self, stream: Stream, error: Exception) -> None:
        self.endings["failed"] += 1
        # Shown to whoever asked in one sentence; the frames hold prompts, and are let go.
        stream.put(error if isinstance(error, UserError | Refused) else error.with_traceback(None))


def _busy(why: str) -> Refused:
    return Refused(503, f"{why}; ask again in a moment", kind="server_error", code="overloaded", wait=5)
