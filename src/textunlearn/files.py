"""Reading and writing files so that a crash never leaves half of one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from platformdirs import user_cache_path

from textunlearn.errors import UserError
from textunlearn.records import from_json, to_json

R = TypeVar("R")


def cache_dir(*parts: str) -> Path:
    """A folder below the user's cache (``TEXTUNLEARN_CACHE`` overrides), created if missing."""
    root = Path(os.environ.get("TEXTUNLEARN_CACHE") or user_cache_path("textunlearn"))
    path = root.joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


PARTIAL = ".partial."
"""What the names of temporary files begin with."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it into place, synced to disk, when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{PARTIAL}{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the disk has a file's bytes, or a folder's names: without the second a power cut takes a rename back."""
    if path.is_dir() and os.name != "posix":  # pragma: no cover - Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """`sync` for all that lies below ``folder``, and for the folder's own name: for what libraries wrote."""
    for path in [*folder.rglob("*"), folder, folder.parent]:
        sync(path)


def sweep(folder: Path) -> None:
    """Remove temporary files that a killed process left below ``folder``. Only for whoever holds the folder's lock."""
    for path in folder.rglob(f"{PARTIAL}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def require_space(folder: Path, needed: float, what: str) -> None:
    """UserError where the disk of ``folder`` has less than ``needed`` bytes free, before ``what`` is begun and fails half-way."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(
            f"{what} needs about {_megabytes(needed)} on the disk of {folder}, and {_megabytes(free)} are free; free some space and "
            "run the same command again, or choose another folder"
        )


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e6:.2f} MB"


def named_path(model: str) -> Path:
    """A model's id or folder as a path whose last part is its name: of "." that is the folder's own."""
    place = Path(model)
    return place.resolve() if place.is_dir() else place


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


class Stored(dict[str, Any]):
    """What a JSON file of ours holds. A key that it lacks is a file that somebody changed, and no fault of the program."""

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.path} lacks {key!r}, with which it was written; {AGAIN}")


AGAIN = "put back the file as it was, or make it again in another folder"


def read_json(path: Path) -> Any:
    """The object that a JSON file holds. UserError where it is missing, not JSON, or no object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; {AGAIN}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON
        raise UserError(f"{path} is not valid JSON: {error}; {AGAIN}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} does not hold a JSON object; {AGAIN}")
    return Stored(path, data)


def read_yaml(path: Path, what: str) -> Any:
    """What a YAML file holds; UserError where it is missing (then it is called ``what``) or not YAML (`plain_yaml`)."""
    from textunlearn import plain_yaml

    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no {what} {path}; check its name") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read as text: {error.strerror}; name a YAML file") from None
    except ValueError as error:  # not UTF-8, or a NUL in the name
        raise UserError(f"{path} cannot be read as text: {error}; save it as UTF-8") from None
    return plain_yaml.parse(text, str(path))


def write_records(path: Path, records: Iterable[Any]) -> None:
    write_text(path, "".join(to_json(record) + "\n" for record in records))


def read_records(path: Path, cls: type[R]) -> list[R]:
    """Records of a JSON lines file. A last line that a crash cut short (no newline) is left out; any other bad line is an error."""
    if not path.exists():
        return []
    out: list[R] = []
    # Split before decoding: a crash may cut a character in half.
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        if line:
            try:
                out.append(from_json(cls, line.decode()))
            except (ValueError, TypeError, RecursionError) as error:
                raise UserError(
                    f"{path} line {number} is not a {cls.__name__} record: {error}; delete that line"
                ) from None
    return out


def append_records(path: Path, records: Iterable[Any]) -> None:
    """Append and sync. A torn last line left by a crash is cut off first, so that appending never joins onto it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - (1 << 16))
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)
        file.seek(0, os.SEEK_END)
        file.write("".join(to_json(record) + "\n" for record in records).encode())
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        sync(path.parent)
