"""A fuzzer of whatever reads files: damaged copies of valid ones must be read, or refused in one sentence (`UserError`).

    python tests/fuzz.py --minutes 10                    # all targets in turn
    python tests/fuzz.py --minutes 1 --target pictures --seed 7
    python tests/fuzz.py --replay fuzz-finds/tables-3f2a.csv

Anything else, an exception of another kind, a message of several lines, more than `SECONDS` for one file, is a find: it is made
smaller for as long as the same line of the program fails, and saved with its traceback. Ends with exit code 1 if there are any. The same
seed gives the same files. Nothing but standard mutations is needed: readers here are parsers of well-kept libraries (JSON, PyYAML,
pyarrow, Pillow), and what is looked for is what those raise and nobody expected.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from textunlearn.errors import UserError

SECONDS = 20
"""For one file. The slowest that are honest take a tenth of it on a busy machine."""
LARGEST = 200_000
"""Bytes of a mutated file."""
SHRINKING = 400
"""Tries to make a find smaller."""

Call = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """Something that reads a file.

    Attributes:
        seeds: valid files, by name; the name's ending is kept, and `call` may use the whole name.
        call: reads the file at a path of that name.
    """

    seeds: tuple[tuple[str, bytes], ...]
    call: Call


@dataclass(frozen=True)
class Find:
    target: str
    name: str
    data: bytes
    what: str
    where: str
    """The innermost line of this program, and the exception's type: what makes two finds one."""
    trace: str

    @property
    def file(self) -> str:
        return (
            f"{self.target}-{hashlib.sha256((self.what + self.where).encode()).hexdigest()[:8]}-{Path(self.name).name}"
        )


@dataclass
class Result:
    tried: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    finds: dict[str, Find] = field(default_factory=dict)
    slowest: float = 0.0


class TooLong(BaseException):
    """Not an Exception, so that nothing on the way swallows it."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLong


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# -- mutation -----------------------------------------------------------------------------------------------------------

TOKENS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b'"', b"'", b",", b"\n", b"\r", b"[", b"]", b"{", b"}", b":", b"#", b"|", b"(",
    b")", b"=", b"\\", b"%", b"- ", b"---\n", b"&a ", b"*a", b"<<: ", b"!!int ", b"!!python/name:os.system ", b"null", b"true", b"NaN",
    b"-Infinity", b"1e999", b"-1", b"0", b"99999999999999999999", b"2024-99-99", b"\\ud83d", b"\\u0000", b"../../", b"/etc/passwd",
    b"\xe2\x80\xa8", b"\xf0\x9f\x99\x82", b"[[[[[[[[", b'{"a":', b"\x1b[31m", b"<|im_end|>", b"\x80\x00\x00\x00",
    b"\xff\xff\xff\x7f", b" " * 64, b"A" * 300,
)  # fmt: skip


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """``data`` after one to six changes; ``other`` is a file of the same kind to take pieces from."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at, to = sorted((rng.randint(0, len(out)), rng.randint(0, len(out))))
        to = min(to, at + rng.choice((1, 4, 30, 400)))
        kind = rng.randrange(8)
        if kind == 0 and out:
            out[min(at, len(out) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at:at] = rng.choice(TOKENS)
        elif kind == 2:
            out[at:to] = rng.choice(TOKENS)
        elif kind == 3:
            del out[at:to]
        elif kind == 4:
            out[at:at] = out[at:to] * rng.choice((1, 2, 50))
        elif kind == 5:
            del out[at:]
        elif kind == 6 and other:
            start = rng.randrange(len(other))
            out[at:to] = other[start : start + rng.choice((4, 40, 400))]
        else:
            out[at:to] = rng.randbytes(to - at)
    return bytes(out[:LARGEST])


# -- running ------------------------------------------------------------------------------------------------------------


def attempt(target: str, call: Call, path: Path, data: bytes) -> Find | bool:
    """True: read; False: refused as it should be; or a find."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    try:
        with time_limit(SECONDS):
            call(path)
    except UserError as error:
        said = str(error)
        if said.isprintable() and said:
            return False
        return Find(target, path.name, data, f"a message that is no line: {said[:200]!r}", _place(error), "")
    except (Exception, TooLong) as error:
        return Find(target, path.name, data, f"{type(error).__name__}: {error}", _place(error), traceback.format_exc())
    return True


def _place(error: BaseException) -> str:
    """Where in the program it happened: the innermost line of textunlearn's own."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f"{os.sep}textunlearn{os.sep}" in f.filename] or frames
    last = ours[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.name}"


def shrunk(find: Find, call: Call, path: Path) -> Find:
    """The same find with as little of the file as still makes it: pieces are left out, halves first."""
    best, size, tries = find, max(1, len(find.data) // 2), 0
    while size and tries < SHRINKING:
        at = 0
        while at < len(best.data) and tries < SHRINKING:
            tries += 1
            found = attempt(find.target, call, path, best.data[:at] + best.data[at + size :])
            if isinstance(found, Find) and found.where == best.where:
                best = found
            else:
                at += size
        size //= 2
    return best


def run(
    targets: dict[str, Target],
    work: Path,
    seed: int = 0,
    *,
    minutes: float | None = None,
    inputs: int | None = None,
    said: Callable[[Find], None] = lambda find: None,
) -> Result:
    """Try each target in turn, until ``minutes`` are over or each had ``inputs`` files. ``work``: a folder for them."""
    result = Result()
    until = None if minutes is None else time.monotonic() + 60 * minutes
    number = 0
    while (until is None or time.monotonic() < until) and (inputs is None or number < inputs):
        for name, target in targets.items():
            rng = random.Random(f"{seed} {name} {number}")
            file, data = rng.choice(target.seeds)
            other = rng.choice(target.seeds)[1]
            path = work / name / file
            began = time.monotonic()
            found = attempt(name, target.call, path, mutated(data, other, rng) if number else data)
            result.slowest = max(result.slowest, time.monotonic() - began)
            result.tried[name] += 1
            if isinstance(found, Find):
                if found.where not in result.finds:
                    result.finds[found.where] = shrunk(found, target.call, path)
                    said(result.finds[found.where])
            else:
                (result.read if found else result.refused)[name] += 1
            path.unlink(missing_ok=True)
        number += 1
    return result


def save(find: Find, folder: Path) -> Path:
    """The file as it is now, and beside it what happened."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / find.file).write_bytes(find.data)
    (folder / f"{find.file}.txt").write_text(f"{find.what}\n{find.where}\n\n{find.trace}", encoding="utf-8")
    return folder / find.file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", help="one of them; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("fuzz-finds"))
    parser.add_argument("--replay", type=Path, help="a saved find: its target is the beginning of its name")
    options = parser.parse_args()
    faulthandler.enable()  # a library may die of a signal: then the file lies in the folder below
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory(prefix="textunlearn-fuzz-") as folder:
        from fuzz_targets import make_targets

        os.environ["TEXTUNLEARN_CACHE"] = str(Path(folder, "cache"))
        targets = make_targets(Path(folder, "layouts"))
        if options.replay:
            name, _, file = options.replay.name.split("-", 2)
            print(attempt(name, targets[name].call, Path(folder, name, file), options.replay.read_bytes()))
            return 0
        chosen = {name: target for name, target in targets.items() if name in (options.target or targets)}
        result = run(
            chosen,
            Path(folder, "work"),
            options.seed,
            minutes=options.minutes,
            said=lambda find: print(f"find: {find.what[:200]} ({find.where}): {save(find, options.out)}", flush=True),
        )
    print(f"{'target':<12} {'files':>8} {'read':>8} {'refused':>8}")
    for name in chosen:
        print(f"{name:<12} {result.tried[name]:>8,} {result.read[name]:>8,} {result.refused[name]:>8,}")
    total = sum(result.tried.values())
    print(f"{total:,} files, {len(result.finds)} finds; the slowest took {result.slowest:.1f} s; seed {options.seed}")
    return 1 if result.finds else 0


if __name__ == "__main__":
    sys.exit(main())
