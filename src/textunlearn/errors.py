"""The one exception users meet. The command line prints it as one sentence and exits with code 2."""

from __future__ import annotations

import errno

LONGEST = 2000
"""Characters of a message, at most: what is quoted in it may come from a file of any size."""


class UserError(Exception):
    """Something the user can mend: what is wrong, where, and what to do, in one sentence.

    File names, keys and libraries' words go into messages; `one_line` keeps them from breaking the line or steering the terminal.
    """

    def __init__(self, sentence: object) -> None:
        super().__init__(one_line(str(sentence)))


NO_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "can't start new thread",
    "bad_alloc",
    "failed to map segment",
)
"""Words of libraries that have no class of their own for it."""


def no_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out, whoever raised it: where errors of libraries are taken for a bad file it is let
    through."""
    # torch is not imported for this: its class has the same name wherever it comes from.
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error).lower() for words in NO_MEMORY)
    )


def one_line(text: str) -> str:
    """``text`` in one line of printable characters, others as escapes (``\\x1b``); its middle is left out where it is too long."""
    if len(text) > 4 * LONGEST:  # before it is looked at letter by letter
        text = text[: 2 * LONGEST] + " … " + text[-2 * LONGEST :]
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))
    if len(line) <= LONGEST:
        return line
    return f"{line[: LONGEST * 2 // 3].rstrip()} … {line[-LONGEST // 4 :].lstrip()}"
