"""Data sources, one file each. A file registers a loader, and what must be known of the set, with ``@source(name, info)``.

A loader is a function of a `Place` that yields an `Item` for each request as published, or `Cut` with the reason where it leaves
one out. Finding the place, picture hashes, repeats and requests about minors are seen to here, the same for every set.
Third parties add theirs in the same way, or register a function without arguments with ``@SOURCES.register(name)``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from textunlearn.data.filters import Kept, mentions_minor
from textunlearn.data.forms import classify_form
from textunlearn.data.hub import snapshot
from textunlearn.data.packages import Package, fetch, fetched
from textunlearn.data.places import Entry, Mapped, Place, PlaceSpec
from textunlearn.data.rows import read_rows
from textunlearn.errors import UserError
from textunlearn.files import atomic, cache_dir
from textunlearn.pictures import file_sha256
from textunlearn.records import Kind, Prompt
from textunlearn.registry import Registry

SOURCES: Registry[Callable[..., list[Prompt]]] = Registry(
    "data source", "textunlearn.data.sources", "textunlearn datasets"
)

AUTHORED = Path(__file__).parent.parent / "authored"
THIRD_PARTY = Path(__file__).parent.parent / "third_party"
DATA = "TEXTUNLEARN_DATA"
"""Environment variable: a folder with one folder a data set, in its publisher's layout."""

EMPTY, NO_PICTURE, MINORS, REPEATED = "empty", "picture missing", "may be about minors", "repeated"
"""Why a request is left out, whatever the set."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What must be known of a source.

    Args:
        kind: of its prompts; each source has one.
        trainable: False for sets kept as tests; training on them is refused.
        rows: as published, before anything is dropped (0: not known).
        pictures: how many of them come with a picture; more than 0 means that every prompt must have one.
        categories: how many the publisher has (0: none).
        hub: the data set's id on the Hugging Face hub, if it is there.
        hub_files: patterns of the files to fetch from there.
        gated: the hub asks for an account that accepted the terms.
        family: what the folder is called that several sources share; "": the source's name.
        cut: what the loader leaves out by design, and why. Repeats, empty requests and harmful ones about minors always go.
    """

    about: str
    licence: str
    homepage: str
    trainable: bool
    rows: int = 0
    kind: Kind = "harmful"
    pictures: int = 0
    categories: int = 0
    hub: str = ""
    hub_files: tuple[str, ...] = ()
    gated: bool = False
    family: str = ""
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One request as its publisher has it.

    Args:
        form: "" for what its words say (`classify_form`); sets of attacks give the attack's format.
        picture: a file, or the bytes of one; None where it is missing.
        asked: what is really asked, where ``text`` only points at the picture; it goes to judges and reports. See `beside`.
        about: further words that are not shown but say what this is about: read for minors, like all others.
    """

    text: str
    category: str = ""
    reference: str = ""
    form: str = ""
    picture: Path | bytes | None = None
    asked: str = ""
    about: str = ""


def beside(text: str, shown: str) -> str:
    """What is asked by ``text`` beside a picture that shows ``shown``: only both together say it."""
    return f"{text}\n\n(The picture shows: {shown})" if shown else text


@dataclass(frozen=True, slots=True)
class Cut:
    """A request that the loader leaves out, and why."""

    reason: str


Loader = Callable[[Place], Iterable[Item | Cut]]


@dataclass(frozen=True, slots=True)
class Source:
    """A registered data set; calling it gives its prompts from wherever they can be had."""

    name: str
    info: SourceInfo
    loader: Loader
    packaged: Package | Path | None = None
    """Where it comes with this tool: a pinned wheel, or a folder of this package."""

    @property
    def folder_name(self) -> str:
        return self.info.family or self.name

    def __call__(self, place: PlaceSpec | None = None) -> list[Prompt]:
        return self.read(place).prompts

    def read(self, place: PlaceSpec | None = None) -> Kept:
        """The prompts, and how many were left out for which reason.

        Args:
            place: as the user names it. None: ``$TEXTUNLEARN_DATA``, the pinned package, the hub, in this order.

        Raises:
            UserError: the set is nowhere to be had, or its files are not as they should be.
        """
        if isinstance(place, Mapped):
            if self.info.pictures and place.image_column is None:
                raise UserError(
                    f"{self.name} is a set of pictures; say with image_column which column of {place.file} names them"
                )
            found = Place(self.name, place.file.parent, "named table", place.file)
            return self._kept(_mapped(place), found, pictures=place.image_column is not None)
        found = self.place(place)
        return self._kept(self.loader(found), found, pictures=self.info.pictures > 0)

    def place(self, named: Path | None = None) -> Place:
        """Where the set is read from. UserError if it is nowhere to be had."""
        if named is not None:
            if not named.exists():
                raise UserError(f"there is no {named}, which data.places names for {self.name}; {self.how_to_get()}")
            file = None if named.is_dir() else named
            return Place(self.name, named if file is None else named.parent, "named place", file)
        if here := self.here():
            return here
        if isinstance(self.packaged, Package):
            return Place(self.name, fetch(self.packaged), f"package {self.packaged.title}")
        if not self.info.hub:
            raise UserError(f"the data set {self.name} is not on this machine; {self.how_to_get()}")
        try:
            return Place(self.name, snapshot(self.info.hub, self.info.hub_files), f"hub {self.info.hub}")
        except UserError as error:
            raise UserError(
                f"the data set {self.name} is not on this machine and not to be had from the hub ({error}); {self.how_to_get()}"
            ) from None

    def here(self) -> Place | None:
        """Where the set lies on this machine; nothing is fetched."""
        root = os.environ.get(DATA)
        for name in dict.fromkeys((self.name, self.folder_name)):
            if root and (folder := Path(root, name)).is_dir():
                return Place(self.name, folder, DATA)
        if isinstance(self.packaged, Path):
            return Place(self.name, self.packaged, "this package")
        if self.packaged is not None and (folder_or_none := fetched(self.packaged)):
            return Place(self.name, folder_or_none, f"package {self.packaged.title}")
        return None

    def how_to_get(self) -> str:
        """One clause: where the set can be had, its licence, and how to name the place."""
        info = self.info
        hub = f"https://huggingface.co/datasets/{info.hub}" if info.hub else ""
        where = " or ".join(filter(None, (hub, info.homepage))) or "its publisher"
        return (
            f"get it from {where} (licence: {info.licence}) and name its folder in the recipe, "
            f"`data: {{places: {{{self.folder_name}: FOLDER}}}}`, or put it at ${DATA}/{self.folder_name}"
        )

    def _kept(self, items: Iterable[Item | Cut], place: Place, *, pictures: bool) -> Kept:
        hashes: dict[Path, str] = {}
        items = published(items, self.name, place)
        prompts, cut = sift(items, lambda item: self._unfit(item, pictures), lambda item: self._prompt(item, hashes))
        if not prompts and NO_PICTURE in cut:
            where = place.file or place.folder
            raise UserError(f"{where}: none of the pictures of {self.name} is there; {self.how_to_get()}")
        return Kept(prompts, sum(cut.values()), cut, place.title)

    def _unfit(self, item: Item, pictures: bool) -> str:
        if pictures and item.picture is None:
            return NO_PICTURE
        if not item.text and item.picture is None:
            return EMPTY
        harmful = self.info.kind == "harmful"
        return (
            MINORS if harmful and any(map(mentions_minor, (item.text, item.asked, item.about, item.category))) else ""
        )

    def _prompt(self, item: Item, hashes: dict[Path, str]) -> Prompt:
        """``hashes``: of the picture files read so far; one picture may stand beside many requests."""
        image, sha256 = "", ""
        if item.picture is not None:
            path = stored(item.picture) if isinstance(item.picture, bytes) else item.picture.absolute()
            sha256 = hashes.get(path) or hashes.setdefault(path, file_sha256(path))
            image = str(path)
        form = item.form or classify_form(item.text)
        asked = "" if item.asked == item.text else item.asked
        return Prompt(item.text, self.info.kind, self.name, form, item.category, item.reference, image, sha256, asked)


class Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T")
Published = TypeVar("Published")
Record = TypeVar("Record", bound=Identified)


def published(items: Iterable[T], name: str, place: Place) -> Iterator[T]:
    """``items`` as a loader reads them from ``place``; UserError where it trips over rows of another shape than the publisher's."""
    try:
        yield from items
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{place.file or place.folder} is not laid out as {name}'s publisher has it ({said}); get its files again"
        ) from error


def sift(
    items: Iterable[Published | Cut], unfit: Callable[[Published], str], make: Callable[[Published], Record]
) -> tuple[list[Record], dict[str, int]]:
    """The records that ``make`` makes of ``items``, each once, and how many were cut, by reason. ``unfit``: why not, or ""."""
    cut: Counter[str] = Counter()
    kept: dict[str, Record] = {}
    for item in items:
        if reason := item.reason if isinstance(item, Cut) else unfit(item):
            cut[reason] += 1
        elif not isinstance(item, Cut):
            record = make(item)
            cut[REPEATED] += record.id in kept
            kept.setdefault(record.id, record)
    return list(kept.values()), {reason: n for reason, n in cut.items() if n}


def stored(data: bytes) -> Path:
    """A picture out of a Parquet file, as a file of the cache that is called after its bytes."""
    import hashlib

    path = cache_dir("pictures") / hashlib.sha256(data).hexdigest()
    if not path.exists():
        with atomic(path) as temporary:
            temporary.write_bytes(data)
    return path


def _mapped(spec: Mapped) -> Iterable[Item]:
    from textunlearn.data.places import Pictures

    folder = Pictures((spec.image_folder or spec.file.parent,))
    for row in read_rows(spec.file):
        entry = Entry(spec.file, row)
        picture = folder.find(entry[spec.image_column]) if spec.image_column else None
        category = entry[spec.category_column] if spec.category_column else ""
        answer = entry[spec.answer_column] if spec.answer_column else ""
        asked = entry[spec.asked_column] if spec.asked_column else ""
        yield Item(entry[spec.column], category, answer, picture=picture, asked=asked)


_INFO: dict[str, SourceInfo] = {}
UNKNOWN = SourceInfo(about="", licence="unknown", homepage="", trainable=True)


def source(name: str, info: SourceInfo, packaged: Package | Path | None = None) -> Callable[[Loader], Loader]:
    """Register a loader. ``packaged``: the wheel, or the folder of this package, that the set comes in."""

    def add(loader: Loader) -> Loader:
        register(Source(name, info, loader, packaged))
        return loader

    return add


def register(part: Source) -> Source:
    """Make ``part`` known under its name."""
    _INFO[part.name] = part.info
    SOURCES.register(part.name)(part)
    return part


def source_info(name: str) -> SourceInfo:
    """UserError if there is no such source; ``UNKNOWN`` for one that registered without saying."""
    SOURCES.get(name)
    return _INFO.get(name, UNKNOWN)


def read_source(name: str, places: Mapping[str, PlaceSpec] | None = None) -> Kept:
    """The prompts of the source of that name, from the place that ``places`` names for it or for its family, if any.

    UserError for one file that is named for a whole family: a split must never be read as another one.
    """
    part = SOURCES.get(name)
    if isinstance(part, Source):
        return part.read(place_for(part, places or {}))
    prompts = part()
    kept = [p for p in prompts if p.kind != "harmful" or not mentions_minor(p.text)]
    cut = len(prompts) - len(kept)
    return Kept(kept, cut, {MINORS: cut} if cut else {})


def place_for(part: Source, places: Mapping[str, PlaceSpec]) -> PlaceSpec | None:
    """What ``places`` names for this source or for its family; None if nothing."""
    family = part.folder_name
    found = places.get(part.name, places.get(family))
    if part.name in places or found is None or not (isinstance(found, Mapped) or found.is_file()):
        return found
    if family in SOURCES.names():  # the file is that one's: HarmBench's tests are not its validation split
        return None
    raise UserError(
        f"data.places.{family} names one file, which cannot be all of {family}; say {part.name} instead, or name a folder"
    )


def place_names() -> list[str]:
    """What ``data.places`` may name: sources and the families that several of them share."""
    parts = {name: SOURCES.get(name) for name in SOURCES.names()}
    families = {part.folder_name for part in parts.values() if isinstance(part, Source)}
    return sorted({*parts, *families})
