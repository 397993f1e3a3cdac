"""What stands between a verb and the terminal: quiet libraries, one sentence for an error, the right exit code.

0 done · 1 a fault of textunlearn · 2 something the user can mend · 3 a limit of `gate` is not kept · 130 Ctrl-C · 143 SIGTERM

A limit has a code of its own, so that a pipeline can tell a model that failed from a tool that did.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from textunlearn.errors import UserError, no_memory, one_line

DONE, FAULT, USER, LIMIT, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143
ERROR = "✗ "
"""What an error's sentence begins with, where the terminal can show it."""
AGAIN = "stopped; run the same command again to go on"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_MENDABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}


PARENT = "TEXTUNLEARN_PARENT"
"""Names the process that started this one and without which it is to stop (see `stop_without_parent`)."""


class Terminated(BaseException):
    """SIGTERM arrived. Not an Exception, so that no retry or fallback swallows it."""


def quiet() -> None:
    """Keep libraries from talking over us. Called before they are imported: they read these variables on import."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore")


def run(app: Callable[..., Any], arguments: Sequence[str], debug: Callable[[], bool]) -> int:
    """Run the typer ``app`` and return the exit code. ``debug``: whether errors come with their traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    stop_without_parent()
    try:
        app(args=list(arguments), prog_name="textunlearn")
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what typer makes of Ctrl-C
            return say(AGAIN, INTERRUPTED)
        return end.code if isinstance(end.code, int) else DONE
    except KeyboardInterrupt:
        return say(AGAIN, INTERRUPTED)
    except Terminated:
        return say(AGAIN, TERMINATED)
    except Exception as error:
        if debug():
            traceback.print_exception(error)
        sentence = explain(error)
        if sentence is not None:
            return say(sentence, USER)
        again = shlex.join(["textunlearn", "--debug", *(a for a in arguments if a != "--debug")])
        return say(f"a fault of textunlearn, not yours ({_short(error)}); `{again}` shows where", FAULT)
    return DONE


def stop_without_parent() -> None:
    """Where `PARENT` names a process: stop like at SIGTERM once that one is gone, killed without a chance to tell its children."""
    import threading
    import time

    parent = os.environ.pop(PARENT, "")  # not for children of this process
    if not parent.isdecimal() or not hasattr(os, "getppid"):
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="watch over the parent").start()


def explain(error: BaseException) -> str | None:
    """One sentence for what the user can mend; None for a fault of the program."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    chain = list(_chain(error))
    if any(_disk_full(e) for e in chain):
        where = next((str(e.filename) for e in chain if isinstance(e, OSError) and e.filename), "the run folder")
        return f"the disk is full (writing {where}); free some space and run the same command again, nothing is lost"
    if any(no_memory(e) for e in chain):
        return "memory ran out; close other programs, or set training.accumulate higher, and run the command again"
    if isinstance(error, OSError) and error.errno in _MENDABLE and error.filename:
        return f"{error.filename} cannot be used: {error.strerror}; choose another place or mend its permissions"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _disk_full(error: BaseException) -> bool:
    # Writers in Rust and C++ (safetensors, torch) raise their own classes, with the system's words in them.
    return (isinstance(error, OSError) and error.errno in _FULL) or "No space left on device" in str(error)


def _short(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200]}" if words else type(error).__name__


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def say(sentence: str, code: int) -> int:
    """Tell the user on stderr; returns ``code``."""
    from rich.console import Console
    from rich.text import Text

    sys.stdout.flush()
    mark = "■ " if code in {INTERRUPTED, TERMINATED} else ERROR
    console = Console(stderr=True)
    console.print(
        Text(mark if console.encoding.startswith("utf") else "", style="red") + Text(one_line(sentence)), soft_wrap=True
    )
    return code
