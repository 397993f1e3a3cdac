"""Where a data set lies: a folder in its publisher's layout, one of its files, or a table with mapped columns.

Loaders are functions of a `Place`. They name the files they look for; the place finds them, reads them and finds the pictures
they name, and turns whatever is wrong into one sentence with file and line.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from textunlearn.data.rows import Row, iter_rows, read_document, require_readable, unit
from textunlearn.errors import UserError
from textunlearn.files import cache_dir
from textunlearn.records import digest


class Mapped(BaseModel):
    """A user's own table that stands for a data set: which of its columns hold what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path = Field(description="a .csv, .jsonl, .json, .txt or .parquet file")
    column: str = Field("prompt", description="holds the request")
    category_column: str | None = None
    answer_column: str | None = Field(None, description="holds an answer to it")
    image_column: str | None = Field(None, description="holds the picture's path, relative to image_folder")
    asked_column: str | None = Field(
        None, description="holds what is really asked, where the request only points at the picture"
    )
    image_folder: Path | None = Field(None, description="default: the folder of the file")


PlaceSpec = Path | Mapped
"""What a user may name: a folder in the publisher's layout, one file of the publisher's, or a table with mapped columns."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a file, read by column."""

    path: Path
    row: Row

    @property
    def where(self) -> str:
        return f"{self.path} {unit(self.path)} {self.row.line}"

    def value(self, column: str) -> Any:
        """What stands in a column, of whatever type. UserError if there is no such column."""
        if column not in self.row.values:
            names = ", ".join(self.row.values) or "none"
            raise UserError(f"{self.where} has no column {column!r}; the columns there are: {names}")
        return self.row.values[column]

    def __getitem__(self, column: str) -> str:
        """Text without surrounding white space; "" where the cell is empty. UserError for no such column or no text."""
        value = self.value(column)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = "" if value != value else str(value)  # pandas writes an empty cell as NaN
        if value is not None and not isinstance(value, str):
            raise UserError(
                f"{self.where}: column {column!r} holds {type(value).__name__}, not text; correct it, or name another column"
            )
        require_readable(value or "", f"{self.where}: column {column!r}")
        return (value or "").strip()

    def picture(self, column: str) -> bytes | None:
        """The bytes of a picture as the hub's Parquet files hold it; None where the cell is empty. UserError for anything else."""
        value = self.value(column)
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is not None and not isinstance(data, bytes):
            raise UserError(f"{self.where}: column {column!r} holds no picture; get the file again")
        return data

    def get(self, column: str) -> str:
        """The text of a column that need not be there; "" without it."""
        return self[column] if column in self.row.values else ""

    def first(self, *columns: str) -> str:
        """The text of the first of these columns that is there: copies of one set call a column differently."""
        return self[next((column for column in columns if column in self.row.values), columns[0])]


@dataclass(frozen=True, slots=True)
class Pictures:
    """The folders that a set's pictures may be in."""

    folders: tuple[Path, ...]

    def find(self, *names: str) -> Path | None:
        """The first file of these relative names that is there. UserError for a name that leads out of the folders."""
        for name in names:
            relative = PurePosixPath(name.replace("\\", "/"))
            if relative.is_absolute() or ".." in relative.parts:
                raise UserError(f"the picture {name!r} lies outside its data set; correct the file that names it")
            for folder in self.folders:
                if name and (path := folder / relative).is_file():
                    return path
        return None


@dataclass(frozen=True, slots=True)
class Place:
    """One data set on disk.

    Args:
        source: the data set's name, for messages.
        folder: in the publisher's layout.
        title: what kind of place this is, without a path of this machine, for the run's record.
        file: the one file to read, where the user named a file and not a folder.
    """

    source: str
    folder: Path
    title: str
    file: Path | None = None

    def glob(self, *patterns: str) -> list[Path]:
        """Files of the first pattern that has any (``*`` stays within a folder), sorted; [] if none has."""
        if self.file is not None:
            return [self.file]
        for pattern in patterns:
            if found := sorted(path for path in self.folder.glob(pattern) if path.is_file()):
                return found
        return []

    def find(self, *patterns: str) -> list[Path]:
        """The same; UserError naming what was looked for if nothing is there."""
        if found := self.glob(*patterns):
            return found
        raise UserError(
            f"{self.folder} does not hold the data set {self.source}: none of {', '.join(patterns)} is there; "
            f"`textunlearn datasets {self.source}` says how to name a place"
        )

    def rows(self, *patterns: str) -> Iterator[Entry]:
        """The rows of every file of the first pattern that has any; see `read_rows`. One after the other."""
        for path in self.find(*patterns):
            for row in iter_rows(path):
                yield Entry(path, row)

    def document(self, *patterns: str) -> tuple[Path, Any]:
        """The first such file, and what its JSON is."""
        path = self.find(*patterns)[0]
        return path, read_document(path)

    def pictures(self, *folders: str, archives: tuple[str, ...] = ()) -> Pictures:
        """The pictures' folders, of those that are there; where none is, archives of them are unpacked into the cache.

        ``folders`` are patterns relative to the set; ``"."`` is the set itself.
        """
        there = [path for name in folders for path in self._folders(name)]
        packed = [] if there else [path for name in archives for path in sorted(self.folder.glob(name))]
        roots = [unpacked(archive) for archive in packed]
        for root in roots:
            there += [root, *(path for path in root.iterdir() if path.is_dir())]
        return Pictures(tuple(there))

    def _folders(self, pattern: str) -> list[Path]:
        if pattern == ".":
            return [self.folder]
        return sorted(path for path in self.folder.glob(pattern) if path.is_dir())


RATIO, MEMBERS = 200, 2_000_000
"""How many times its own size an archive may unpack to (above `SMALL` bytes), and into how many files: pictures are packed already."""
SMALL = 1 << 30


def _require_room(archive: Path, sizes: Iterable[int], folder: Path) -> None:
    """UserError for an archive that would fill the disk: what it says is the most that is ever unpacked of it."""
    total = 0
    most = max(SMALL, RATIO * archive.stat().st_size)
    for number, size in enumerate(sizes):
        total += size
        if total > most or number >= MEMBERS:
            raise UserError(
                f"{archive} would unpack to more than {most:,} bytes or {MEMBERS:,} files, which no data set does; get it again"
            )
    if total > shutil.disk_usage(folder).free:
        raise UserError(
            f"{archive} needs {total:,} bytes, more than the disk of {folder.parent.parent} has free; free some space or set "
            "TEXTUNLEARN_CACHE to a folder on another disk"
        )


UNPACKING = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError)
"""What a damaged archive raises. RuntimeError: a password, or a way of packing that Python does not know."""


def unpacked(archive: Path) -> Path:
    """The folder of the cache that holds what is in a .zip or .tar archive; unpacked on the first call.

    UserError for a damaged archive or one with a file that would leave the folder.
    """
    about = archive.stat()
    folder = cache_dir("unpacked") / digest(str(archive.resolve()), about.st_size, about.st_mtime_ns)
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as name:
        target = Path(name) / "files"
        target.mkdir()
        try:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as packed:
                    _require_room(archive, (member.file_size for member in packed.infolist()), target)
                    packed.extractall(target)  # drops drive letters and ".." itself
            else:
                with tarfile.open(archive) as bundle:
                    _require_room(archive, (member.size for member in bundle), target)
                    bundle.extractall(target, filter="data")  # refuses what would leave the folder
        except UNPACKING as error:
            raise UserError(f"{archive} cannot be unpacked: {error or type(error).__name__}; get it again") from None
        try:
            target.rename(folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
    return folder
