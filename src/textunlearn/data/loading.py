"""One door to every set of prompts: a named source, a user's file, or a data set on the Hugging Face hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from textunlearn.data.filters import Kept, drop_minors, sample, smallest
from textunlearn.data.forms import classify_form
from textunlearn.data.places import PlaceSpec
from textunlearn.data.rows import Row, iter_rows, require_readable, unit
from textunlearn.data.sources import MINORS, read_source, source_info
from textunlearn.errors import UserError
from textunlearn.records import Kind, Prompt


class SourceSpec(BaseModel):
    """Where prompts come from: exactly one of ``source``, ``file`` and ``hub``.

    ``kind`` and the columns belong to files and hub data sets; a named source knows its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = None
    """Name of a registered source, e.g. ``advbench``."""
    file: Path | None = None
    """A .csv file with a header, a .jsonl, .json or .parquet file, or a .txt file with one prompt a line; UTF-8."""
    hub: str | None = None
    """A data set on the Hugging Face hub, e.g. ``PKU-Alignment/PKU-SafeRLHF``; needs the package ``datasets``."""
    split: str = "train"
    """Split of the hub data set."""
    column: str = "prompt"
    """Column that holds the request."""
    answer_column: str | None = None
    """Column that holds an answer to it, if any; it becomes ``Prompt.reference``."""
    category_column: str | None = None
    kind: Kind | None = None
    limit: int | None = Field(default=None, gt=0)
    """Prompts at most, chosen by hash. None: all."""
    stream: bool = False
    """Read a hub data set row by row, without keeping it on disk or in memory; needs ``limit``."""
    first: int | None = Field(default=None, gt=0)
    """Rows of a streamed data set that are looked at; None: all, which takes as long as reading it."""

    @model_validator(mode="after")
    def _one_place(self) -> SourceSpec:
        given = [name for name in ("source", "file", "hub") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of source, file and hub, not {' and '.join(given) or 'none'}")
        if self.source is not None:
            extra = self.model_fields_set & {
                "stream",
                "first",
                "split",
                "column",
                "answer_column",
                "category_column",
                "kind",
            }
            if extra:
                raise ValueError(
                    f"{', '.join(sorted(extra))} cannot be set for the named source {self.source!r}, which knows its own; leave it out"
                )
        if self.stream and (self.hub is None or self.limit is None):
            raise ValueError(
                "stream is for a hub data set with a limit: give hub, and limit, the number of prompts to keep"
            )
        if self.first is not None and not self.stream:
            raise ValueError("first is how many rows of a stream are looked at; set stream to true, or leave it out")
        if self.source is None and self.kind is None:
            raise ValueError(f"say which kind of prompts {self.title} holds: harmful, lookalike or ordinary")
        return self

    @property
    def title(self) -> str:
        """What the prompts' ``source`` is called: the name, the file name or the hub's name."""
        return self.source or self.hub or Path(self.file or "").name

    @property
    def trainable(self) -> bool:
        """Whether training on it is allowed; always for the user's own data."""
        return self.source is None or source_info(self.source).trainable


def as_spec(spec: SourceSpec | str) -> SourceSpec:
    return SourceSpec(source=spec) if isinstance(spec, str) else spec


def load(spec: SourceSpec | str, places: Mapping[str, PlaceSpec] | None = None) -> list[Prompt]:
    """The prompts of ``spec`` or the source of that name, without harmful ones about minors: :func:`load_counted`."""
    return load_counted(spec, places).prompts


def load_counted(spec: SourceSpec | str, places: Mapping[str, PlaceSpec] | None = None) -> Kept:
    """The same, with the number of prompts that were left out, and why: harmful ones that may be about minors always are.

    Args:
        places: where named sources lie, by source or family (the recipe's ``data.places``).

    Raises:
        UserError: an unknown source; a file or data set that is missing, malformed or empty; no such column.
    """
    spec = as_spec(spec)
    kept = _own(spec) if spec.source is None else read_source(spec.source, places)
    if not kept.prompts:
        raise UserError(f"{spec.title} holds no prompts that can be used; give another set")
    return Kept(sample(kept.prompts, spec.limit), kept.cut, kept.reasons, kept.origin)


def _own(spec: SourceSpec) -> Kept:
    """The prompts of a user's own set. Of a stream only as many are ever held as its limit says."""
    if spec.file is not None:
        prompts = _prompts(spec, iter_rows(spec.file), str(spec.file), unit(spec.file))
    else:
        prompts = _prompts(spec, _hub_rows(spec), f"the hub data set {spec.hub}", "row")
    if not spec.stream:
        kept = drop_minors(list(prompts))
        return Kept(kept.prompts, kept.cut, {MINORS: kept.cut} if kept.cut else {})
    cut = Counter[str]()
    chosen = smallest(_counting(prompts, cut), spec.limit or 1)
    return Kept(chosen, cut[MINORS], dict(cut))


def _counting(prompts: Iterable[Prompt], cut: Counter[str]) -> Iterator[Prompt]:
    """As `drop_minors`, one after the other."""
    for prompt in prompts:
        if drop_minors([prompt]).cut:
            cut[MINORS] += 1
        else:
            yield prompt


def _prompts(spec: SourceSpec, rows: Iterable[Row], where: str, unit: str) -> Iterator[Prompt]:
    """``unit``: what a row's number counts, for messages."""
    found = False
    for row in rows:
        text = _cell(row, spec.column, where, unit)
        if not text:
            raise UserError(
                f"{where} {unit} {row.line} has nothing in the column {spec.column!r}; fill it or delete it"
            )
        answer = _cell(row, spec.answer_column, where, unit) if spec.answer_column else ""
        category = _cell(row, spec.category_column, where, unit) if spec.category_column else ""
        found = True
        yield Prompt(text, spec.kind or "harmful", spec.title, classify_form(text), category, answer)
    if not found:
        raise UserError(f"{where} holds no prompts; give a set with at least one")


def _cell(row: Row, column: str, where: str, unit: str) -> str:
    if column not in row.values:
        names = ", ".join(row.values) or "none"
        raise UserError(f"{where} {unit} {row.line} has no column {column!r}; the columns there are: {names}")
    value = row.values[column]
    if not isinstance(value, str):
        raise UserError(
            f"{where} {unit} {row.line}: column {column!r} holds {type(value).__name__}, not text; put it in quotes or name another column"
        )
    require_readable(value, f"{where} {unit} {row.line}: column {column!r}")
    return value.strip()


def _hub_rows(spec: SourceSpec) -> Iterable[Row]:
    try:
        import datasets
    except ImportError:
        raise UserError(f"the hub data set {spec.hub} needs the package datasets; run `pip install datasets`") from None
    try:
        streaming = {"streaming": True} if spec.stream else {}
        table: Iterable[dict[str, Any]] = datasets.load_dataset(spec.hub, split=spec.split, **streaming)
    except Exception as error:  # the library raises many kinds: no network, no such set or split, a gated set
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"cannot load split {spec.split!r} of the hub data set {spec.hub}: {said[0]}") from error
    return (Row(number, dict(values)) for number, values in enumerate(islice(table, spec.first), start=1))
