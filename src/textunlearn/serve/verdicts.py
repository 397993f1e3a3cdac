"""Verdicts on what is said in a chat: the run's judges, on one case at a time, in a thread of their own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from textunlearn.records import Answer, Case, Prompt, Verdict, digest

if TYPE_CHECKING:
    from textunlearn.attacks import Shown
    from textunlearn.judges import Judge


def case_of(prompt: Prompt, shown: Shown, attack: str, pictures: int) -> Case:
    """The case that a question is to a judge; pictures are told apart by their number alone, for nothing is filed under it."""
    names = tuple(f"picture-{number}" for number in range(pictures))
    return Case("chat", attack, prompt, shown.text, names, tuple(map(digest, names)), shown.prefill)


class Verdicts:
    """``judge`` loads what it needs at its first verdict."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._thread = ThreadPoolExecutor(1, "judge")

    async def of(self, case: Case, answer: str) -> Verdict:
        """The verdict on an answer, its beginning by the user included."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.now, case, answer)

    def now(self, case: Case, answer: str) -> Verdict:
        """The same, in the caller's thread."""
        (verdict,) = self.judge.judge([case], [Answer(case.id, answer, 0, True)])
        return verdict

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
