"""Results of an event loop, one by one, in the thread that asked.

The loop has a thread of its own, so that it can be used where one is running already, and so that Ctrl-C and SIGTERM arrive in
the caller, never inside the loop's machinery, which would swallow them.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Hand = Callable[[T], Awaitable[None]]


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T
    taken: asyncio.Future[None]


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def arrivals(work: Callable[[Hand[T]], Coroutine[Any, Any, None]]) -> Generator[T, None, None]:
    """What ``work(hand)`` hands over with ``await hand(value)``, which returns when the value has been dealt with here.

    An error of ``work`` is raised here, after what it handed over before. Close the generator to cancel what is still going on.
    """
    box: queue.SimpleQueue[_Item[T] | _End] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()

    async def hand(value: T) -> None:
        taken: asyncio.Future[None] = loop.create_future()
        box.put(_Item(value, taken))
        await taken

    task = loop.create_task(work(hand))

    def main() -> None:
        error: BaseException | None = None
        try:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(task)
            loop.run_until_complete(loop.shutdown_asyncgens())
        except BaseException as caught:
            error = caught
        finally:
            loop.close()
            box.put(_End(error))

    def take(item: _Item[T]) -> None:
        if not item.taken.done():
            item.taken.set_result(None)

    thread = threading.Thread(target=main, name="endpoint", daemon=True)
    thread.start()
    try:
        while True:
            got = box.get()
            if isinstance(got, _End):
                if got.error is not None:
                    raise got.error
                return
            yield got.value
            loop.call_soon_threadsafe(take, got)
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: all is done
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
