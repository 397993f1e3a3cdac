"""Rows out of a data file, each with its line: CSV with a header, JSON lines, JSON, Parquet, or text with one prompt a line."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textunlearn.errors import UserError

TEXT_COLUMN = "prompt"
"""What the only column of a text file is called."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: values by column, and the line (from 1) it ends on; in JSON and Parquet files, which entry it is."""

    line: int
    values: dict[str, Any]


LONGEST = 1_000_000
"""Characters of a text that is used: four times the longest that any model holds."""


def require_readable(text: str, where: str) -> None:
    """UserError for a text that no model could be shown: the wrong column, or a whole book in one cell."""
    if len(text) > LONGEST:
        raise UserError(
            f"{where} holds {len(text):,} characters, more than any model takes ({LONGEST:,}); cut it, or name another column"
        )


KEY = "_key"
"""The column that holds an entry's key where a JSON file is an object of objects."""


def unit(path: Path) -> str:
    """What `Row.line` counts in this file, for messages."""
    return "entry" if path.suffix.lower() in (".json", ".parquet") else "line"


def read_rows(path: Path) -> list[Row]:
    """The rows of a ``.csv``, ``.jsonl``, ``.txt`` or ``.json`` file in UTF-8, with or without a byte order mark, or of a
    ``.parquet`` file.

    A JSON file is a list of objects, or an object of objects whose keys then stand in the column ``KEY``.

    Raises:
        UserError: no such file, another ending, not UTF-8, a NUL byte, a row of another shape; with file and line.
    """
    return list(iter_rows(path))


def iter_rows(path: Path) -> Iterator[Row]:
    """The same one after the other: a Parquet file with pictures in it need not fit into memory."""
    if path.suffix.lower() == ".parquet":
        yield from _parquet(path)
        return
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join([*_READERS, ".parquet"])
        raise UserError(f"{path} is not a data file this tool reads; give one that ends in {known}")
    yield from reader(path, _text(path))


def read_document(path: Path) -> Any:
    """What a JSON file in UTF-8 holds, whatever its shape. UserError if it is missing or not JSON."""
    return _parsed(_text(path), str(path))


def _parsed(text: str, where: str) -> Any:
    """What JSON says. UserError where it is none, a key stands twice in an object, or a text holds half of a character."""
    try:
        found = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        said = "lists inside lists without end" if isinstance(error, RecursionError) else error
        raise UserError(f"{where} is not valid JSON: {said}; correct it there") from None
    if _MAYBE_HALF.search(text):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UserError(f"{where} holds half of a character (\\ud800 to \\udfff); cut the text elsewhere") from None
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two equal keys Python keeps the last, without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


_MAYBE_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON names half of a pair that stands for one character: alone it is no text, and no file can hold it."""


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or device could be read for ever
            raise UserError(f"cannot read the data file {path}: it is a folder, a pipe or a device; name a file")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"the data file {path} does not exist; check its name") from None
    except OSError as error:
        raise UserError(f"cannot read the data file {path}: {error.strerror}; check its name and permissions") from None
    except ValueError as error:  # a NUL in the name
        raise UserError(f"cannot read the data file {path}: {error}; correct its name") from None
    if raw.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise UserError(f"{path} is UTF-32 text; save it as UTF-8")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is UTF-16 text; save it as UTF-8")
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise UserError(f"{path} line {line} holds a NUL byte, so it is not plain text; save it as UTF-8 text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line} is not UTF-8 text; save the file as UTF-8") from None


def _csv(path: Path, text: str) -> Iterator[Row]:
    csv.field_size_limit(CELL)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header):
            raise UserError(f"{path} line 1 names a column twice: {', '.join(header)}; rename or delete one")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"{path} line {reader.line_num} has {len(cells)} cells where the header has {len(header)}; "
                    "put texts that hold commas in double quotes"
                )
            yield Row(reader.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise UserError(
            f"{path} line {reader.line_num} is not valid CSV: {error}; a text that holds quotes stands in quotes itself, with each doubled"
        ) from None


CELL = 1 << 30
"""Characters of a cell, at most. Python's own limit, 131072, would refuse columns that nobody asks for."""


def _jsonl(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        values = _parsed(line, f"{path} line {number}")
        if not isinstance(values, dict):
            raise UserError(f'{path} line {number} is not a JSON object; write one a line, such as {{"prompt": "..."}}')
        yield Row(number, values)


def _txt(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield Row(number, {TEXT_COLUMN: line.strip()})


def _json(path: Path, text: str) -> Iterator[Row]:
    found = _parsed(text, str(path))
    entries = (
        [{KEY: key, **value} if isinstance(value, dict) else value for key, value in found.items()]
        if isinstance(found, dict)
        else found
    )
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path} is neither a list of objects nor an object of objects, so it has no rows; give one")
    for number, values in enumerate(entries, start=1):
        yield Row(number, values)


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            f"{path} is a Parquet file, which needs the package pyarrow; run `pip install pyarrow`"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise UserError(f"{path} names a column twice: {', '.join(names)}; rename or delete one")
            number = 0
            for batch in file.iter_batches(batch_size=256):  # pictures may be inside: never the whole file at once
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, values)
    except FileNotFoundError:
        raise UserError(f"the data file {path} does not exist; check its name") from None
    except (OSError, ValueError, ArrowException) as error:  # ValueError: bytes that are no text where text should be
        said = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path} cannot be read as Parquet: {said}; get the file again") from None


_READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".txt": _txt,
    ".json": _json,
}
