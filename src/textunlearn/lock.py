"""One run folder, one process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from textunlearn.errors import UserError

NAME = ".lock"


def claim(folder: Path) -> IO[str]:
    """Hold the folder's lock for as long as the returned file stays open. The system frees it when the process dies, however it dies."""
    file = (folder / NAME).open("a+", encoding="utf-8")
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:  # pragma: no cover
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        file.close()
        raise UserError(
            f"another textunlearn process is working in {folder}; wait for it, or choose another folder"
        ) from None
    return file
