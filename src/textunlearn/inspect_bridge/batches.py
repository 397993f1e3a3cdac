"""Requests that arrive one by one, answered together: a worker thread gathers what is waiting and gives it to the engine as a batch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING

from textunlearn.records import Answer

if TYPE_CHECKING:
    from textunlearn.evaluation.generation import Request
    from textunlearn.vlm.load import Vlm

WAIT = 0.25
"""Seconds without a new request after which a batch is full enough: requests of one evaluation come within less."""


@dataclass(frozen=True)
class Answered:
    """``answer`` to a request, and how many tokens that had."""

    answer: Answer
    asked_tokens: int


@dataclass
class _Job:
    make: Callable[[], Request]
    """Rendering and encoding, which are done in the worker too: neither processors nor PIL are asked to be safe for threads."""
    max_new_tokens: int
    future: Future[Answered] = field(default_factory=Future)


class Batches:
    """The worker of one model. Thread-safe.

    Args:
        size: requests at once, at most; the engine takes fewer where memory does not suffice.
    """

    def __init__(self, vlm: Vlm, size: int) -> None:
        self.vlm, self.size = vlm, size
        self._queue: Queue[_Job | None] = Queue()
        self._thread = Thread(target=self._work, name="textunlearn batches", daemon=True)
        self._thread.start()

    def submit(self, make: Callable[[], Request], max_new_tokens: int) -> Future[Answered]:
        """The answer to come. What ``make`` raises is this request's error and no other's."""
        job = _Job(make, max_new_tokens)
        self._queue.put(job)
        return job.future

    def close(self) -> None:
        """The worker ends after what it was given so far."""
        self._queue.put(None)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            jobs: list[_Job] = [job]
            last = False
            while len(jobs) < self.size and not last:
                try:
                    more = self._queue.get(timeout=WAIT)
                except Empty:
                    break
                last = more is None
                jobs += [more] if more is not None else []
            self._answer(jobs)
            if last:
                return

    def _answer(self, jobs: list[_Job]) -> None:
        groups: dict[int, list[tuple[_Job, Request]]] = {}
        for job in jobs:
            if job.future.set_running_or_notify_cancel():  # False: nobody waits for it any more
                try:
                    groups.setdefault(job.max_new_tokens, []).append((job, job.make()))
                except Exception as error:
                    job.future.set_exception(error)
        for limit, group in groups.items():
            try:
                self._generate(limit, group)
            except Exception as error:
                for job, _ in group:
                    if not job.future.done():
                        job.future.set_exception(error)

    def _generate(self, limit: int, group: list[tuple[_Job, Request]]) -> None:
        from textunlearn.evaluation.generation import generate
        from textunlearn.vlm.image_features import cached

        def done(indices: list[int], answers: list[Answer]) -> None:
            for i, answer in zip(indices, answers, strict=True):
                job, request = group[i]
                job.future.set_result(Answered(answer, len(request.ids)))

        generate(self.vlm, [request for _, request in group], limit, done, self.size, cached(self.vlm))
