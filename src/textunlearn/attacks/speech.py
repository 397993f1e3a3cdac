"""Words as speech, by eSpeak NG: a program of a few megabytes that speaks some hundred languages without a network.

It is called as a program and no part of this package (its licence is the GPL). Its voice is a machine's, and the same words
give the same samples on every call; versions of it differ.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textunlearn.errors import UserError
from textunlearn.sounds import RATE, Sound, read_wav

if TYPE_CHECKING:
    from textunlearn.records import Case

PROGRAM = "espeak-ng"
PATIENCE = 120
"""Seconds for one request, which takes some hundredths of a second."""


def installed() -> bool:
    return shutil.which(PROGRAM) is not None


def program() -> str:
    """Where eSpeak NG lies; UserError where it is not installed."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise UserError(
            f"spoken requests need the program {PROGRAM}, which is not installed; get it by `apt install espeak-ng`, "
            "`brew install espeak-ng` or `winget install eSpeak-NG.eSpeak-NG`"
        )
    return found


def who_spoke(cases: Sequence[Case]) -> dict[str, str]:
    """The program's version under ``speech``, for the record of a run whose ``cases`` have sounds."""
    return {"speech": version()} if installed() and any(case.sounds for case in cases) else {}


@functools.cache
def version() -> str:
    """What the program says of itself, for the record of a run: another version speaks otherwise."""
    said = subprocess.run([program(), "--version"], capture_output=True, text=True, timeout=PATIENCE)
    return said.stdout.partition("Data at")[0].strip()


@functools.lru_cache(maxsize=256)
def say(text: str, voice: str, speed: int, pitch: int) -> Sound:
    """``text`` spoken, at `RATE` samples a second.

    Args:
        voice: a language or voice of eSpeak NG's (``espeak-ng --voices``).
        speed: words a minute.
        pitch: 0 to 99.

    UserError where the program, the voice or anything that could be spoken is missing.
    """
    words = text.replace("[[", "[ [")  # in double brackets it takes phonemes
    given = [program(), "-v", voice, "-s", str(speed), "-p", str(pitch), "-b", "1", "--stdin", "--stdout"]
    try:
        made = subprocess.run(given, input=words.encode(), capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{PROGRAM} cannot be run: {error}; install it again") from None
    if made.returncode or not made.stdout:
        said = " ".join(made.stderr.decode(errors="replace").split())[:200]
        if "voice" in said:
            raise UserError(
                f"{PROGRAM} has no voice {voice!r}; name one of `{PROGRAM} --voices`, such as en-us or en-gb"
            )
        raise UserError(f"{PROGRAM} does not speak {text[:40]!r}: {said or 'it gave no sound'}; leave the request out")
    return read_wav(_with_lengths(made.stdout), f"what {PROGRAM} says of {text[:40]!r}").at(RATE)


def require_voice(voice: str) -> str:
    """``voice``; ValueError or UserError where eSpeak NG is installed and does not have it."""
    if not re.fullmatch(r"[A-Za-z][\w+-]*", voice):
        raise ValueError("a voice's name has letters, digits, _, + and - only")
    if installed():
        say("a", voice, 175, 50)
    return voice


def _with_lengths(data: bytes) -> bytes:
    """A WAV file that was written to a pipe says it is gigabytes long; here with the lengths that it has."""
    at = data.find(b"data", 12)
    if at < 0:
        return data
    size = len(data) - at - 8
    whole = (len(data) - 8).to_bytes(4, "little")
    return data[:4] + whole + data[8 : at + 4] + size.to_bytes(4, "little") + data[at + 8 :]
