"""A command of textunlearn in a process of its own that is struck at one moment: real signals, a real limit on memory, a really full disk.

The processes are forked from one that has imported everything, so that a start costs nothing. A moment is a number of seconds, or the
number of a file operation (open for writing, rename, remove, sync, ...) below the run folder, which finds the gaps that time seldom hits.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILLER = "filler"
"""File that fills the disk."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
SIGNALLED = (-signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS)


@dataclass(frozen=True)
class Way:
    """One way of ending a process.

    Attributes:
        strike: ``strike(pid, disk, random)`` does it, from the process itself or from outside.
        codes: exit codes that are right after it; 0 always is, for a strike may come too late or not matter.
        says: words that its sentence has where it ends with `shell.USER`.
        tears: what was not synced to the disk is torn afterwards, as a power cut does.
    """

    strike: Callable[[int, Path, random.Random], None]
    codes: tuple[int, ...]
    says: str = ""
    tears: bool = False


def _send(number: signal.Signals) -> Callable[[int, Path, random.Random], None]:
    def strike(pid: int, disk: Path, chance: random.Random) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    return strike


def _take_memory(pid: int, disk: Path, chance: random.Random) -> None:
    """No more memory than the process has, but for a few pages."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + chance.randrange(1 << 22)
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _fill(pid: int, disk: Path, chance: random.Random) -> None:
    """Leave a few kilobytes, or nothing, free on ``disk``, which must be a small file system of its own."""
    about = os.statvfs(disk)
    left = chance.choice([0, 0, 1, 2, 5])  # blocks
    handle = os.open(disk / FILLER, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        os.posix_fallocate(handle, 0, max(1, about.f_bavail - left) * about.f_frsize)
    os.close(handle)


WAYS: dict[str, Way] = {
    "kill": Way(_send(signal.SIGKILL), SIGNALLED),
    "power cut": Way(_send(signal.SIGKILL), SIGNALLED, tears=True),
    "terminate": Way(_send(signal.SIGTERM), (143, -signal.SIGTERM)),
    "Ctrl-C": Way(_send(signal.SIGINT), (130, -signal.SIGINT)),
    "no memory": Way(_take_memory, (2, *SIGNALLED), "memory ran out"),
    "full disk": Way(_fill, (2,), "free some space"),
}


@dataclass
class Seen:
    """What one process did, from its notes."""

    code: int = 0
    seconds: float = 0.0
    struck: bool = False
    events: int = 0
    rows: dict[int, int] = field(default_factory=dict)
    """Rows that it began to generate, by length asked for."""
    steps: dict[str, list[int]] = field(default_factory=dict)
    """Steps taken before each step that it took, by folder of checkpoints."""
    synced: dict[int, int] = field(default_factory=dict)
    """Size that each file (by inode) had when it was last synced."""
    said: str = ""


@dataclass
class Notes:
    """The notes of a process: a file that each of them appends to in whole lines, so that a kill costs none."""

    path: Path
    handle: int = -1

    def open(self) -> None:
        self.handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, *words: object) -> None:
        os.write(self.handle, (" ".join(map(str, words)) + "\n").encode())

    def read(self, seen: Seen) -> None:
        for line in self.path.read_text().splitlines():
            kind, first, *rest = line.split(" ", 2)
            if kind == "event":
                seen.events = max(seen.events, int(first))
            elif kind == "sync":
                seen.synced[int(first)] = int(rest[0])
            elif kind == "rows":
                seen.rows[int(first)] = seen.rows.get(int(first), 0) + int(rest[0])
            elif kind == "step":
                seen.steps.setdefault(rest[0], []).append(int(first))
            else:
                seen.struck = True


def run(
    arguments: Sequence[str],
    disk: Path,
    below: Path,
    work: Path,
    way: str = "",
    moment: int | float = 0,
    chance: random.Random | None = None,
    limit: float = 120.0,
) -> Seen:
    """``textunlearn ARGUMENTS`` in a forked process, struck at ``moment`` (int: file operation, float: seconds; no ``way``: never).

    Returns once it and whatever it started has ended.

    Args:
        disk: the file system that is filled.
        below: what it works in; file operations elsewhere do not count.
        work: where its notes and its words go.
        limit: seconds until it is taken for hanging and killed, which is told by its code.
    """
    notes, words = Notes(work / "notes"), work / "words"
    notes.path.unlink(missing_ok=True)
    chance = chance or random.Random(0)
    seen, began = Seen(), time.monotonic()
    read, write = os.pipe()  # its end tells that the last of the process's children is gone too
    pid = os.fork()
    if pid == 0:
        os.close(read)
        code = 1
        try:
            _begin(words, notes, (disk, below), way if isinstance(moment, int) else "", moment, chance)
            code = _main(arguments)
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    os.close(write)
    waiting = way != "" and isinstance(moment, float)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        spent = time.monotonic() - began
        if done:
            break
        if waiting and spent >= moment:
            waiting = False
            seen.struck = True
            WAYS[way].strike(pid, disk, chance)
        if spent > limit:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    ended = bool(select.select([read], [], [], limit)[0])
    os.close(read)
    seen.code, seen.seconds = os.waitstatus_to_exitcode(status), time.monotonic() - began
    seen.said = words.read_text(encoding="utf-8", errors="replace") if words.exists() else ""
    if notes.path.exists():
        notes.read(seen)
    if not ended:
        seen.said += "\nhung: what it started did not end"
        seen.code = seen.code or 1
    if spent > limit:
        seen.said += f"\nhung: killed after {limit:.0f} s"
    return seen


def _main(arguments: Sequence[str]) -> int:
    from textunlearn import cli, shell

    return shell.run(cli.app, arguments, lambda: False)


def _begin(
    words: Path, notes: Notes, places: tuple[Path, Path], way: str, moment: int | float, chance: random.Random
) -> None:
    """In the new process: words into a file, notes on what it does, the strike at its moment."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    handle = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(handle, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    notes.open()
    disk, below, me, count, busy = places[0], str(places[1]), os.getpid(), 0, False

    def event() -> None:
        nonlocal count, busy
        if busy or os.getpid() != me:
            return
        count += 1
        busy = True
        notes.write("event", count)
        if way and count == moment:
            notes.write("struck", 0)
            WAYS[way].strike(me, disk, chance)
        busy = False

    def hook(name: str, given: tuple[Any, ...]) -> None:
        if busy:
            return
        opened = name == "open" and isinstance(given[2], int) and given[2] & _WRITES
        if (
            (opened or name in _CHANGES)
            and isinstance(given[0], (str, os.PathLike))
            and str(given[0]).startswith(below)
        ):
            event()

    _note_work(notes, event)
    sys.addaudithook(hook)


def _note_work(notes: Notes, event: Callable[[], None]) -> None:
    """Notes of what is synced, generated and trained."""
    from textunlearn.evaluation import generation
    from textunlearn.training.trainer import UnlearningTrainer

    fsync, batch, step = os.fsync, generation._batch, UnlearningTrainer.training_step

    def syncing(handle: Any) -> None:
        event()
        fsync(handle)
        about = os.fstat(handle if isinstance(handle, int) else handle.fileno())
        notes.write("sync", about.st_ino, about.st_size)
        event()

    def generating(vlm: Any, asked: Any, tokens: int, *more: Any) -> Any:
        notes.write("rows", tokens, len(asked))
        return batch(vlm, asked, tokens, *more)

    def training(self: Any, *given: Any, **named: Any) -> Any:
        notes.write("step", self.state.global_step, self.args.output_dir)
        return step(self, *given, **named)

    os.fsync = syncing
    generation._batch = generating  # type: ignore[assignment]
    UnlearningTrainer.training_step = training  # type: ignore[method-assign]


class Forked:
    """In the place of ``subprocess.Popen`` where `compare` starts its runs: the same command, forked."""

    def __init__(self, command: Sequence[str], *, stdout: Any, env: dict[str, str], **_: Any) -> None:
        self.returncode: int | None = None
        sys.stdout.flush(), sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                for number in (1, 2):
                    os.dup2(stdout.fileno(), number)
                os.environ.update(env)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                code = _main(command[command.index("run") :])
            finally:
                with contextlib.suppress(BaseException):
                    sys.stdout.flush(), sys.stderr.flush()
                os._exit(code)

    def poll(self) -> int | None:
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        import subprocess

        end = time.monotonic() + (1e9 if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("textunlearn", timeout or 0)
            time.sleep(0.01)
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def tear(folder: Path, seen: Seen, before: dict[int, int], chance: random.Random) -> int:
    """Cut what was not synced when the power went; how many files were cut.

    Args:
        before: size of each file (by inode) when the process began: older bytes are on the disk.
    """
    torn = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink() or path.name == FILLER:
            continue
        about = path.stat()
        safe = min(about.st_size, max(seen.synced.get(about.st_ino, 0), before.get(about.st_ino, 0)))
        if safe < about.st_size:
            os.truncate(path, chance.choice([safe, chance.randint(safe, about.st_size - 1)]))
            torn += 1
    return torn


def sizes(folder: Path) -> dict[int, int]:
    """Inode -> size of every file below ``folder``."""
    return {about.st_ino: about.st_size for p in folder.rglob("*") if p.is_file() for about in [p.stat()]}
