"""Sets of questions whose right answer is known, one file each in `data.sources`, registered with ``@question_set(...)``.

A loader is a function of a `Place` that yields an `Asked` for each question as published, or `Cut` with the reason where it leaves one
out. Each set is a data source as well: its questions are harmless requests like any other (``mmlu@direct`` counts refusals of them).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from textunlearn.data.places import Mapped, Place, PlaceSpec
from textunlearn.data.sources import (
    EMPTY,
    NO_PICTURE,
    Cut,
    Item,
    Source,
    SourceInfo,
    place_for,
    published,
    register,
    sift,
    stored,
)
from textunlearn.errors import UserError
from textunlearn.pictures import file_sha256
from textunlearn.records import Question
from textunlearn.registry import Registry

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SEVERAL = "several pictures"

Picture = Path | bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as its publisher has it: as `Question`, but with the pictures themselves, files or their bytes."""

    text: str
    choices: tuple[str, ...] = ()
    right: int = -1
    answers: tuple[str, ...] = ()
    category: str = ""
    group: str = ""
    listed: bool = False
    solution: str = ""
    pictures: tuple[Picture | None, ...] = ()

    def with_choices(self) -> str:
        """The question with its choices under letters."""
        return with_choices(self.text, () if self.listed else self.choices)


def with_choices(text: str, choices: Sequence[str]) -> str:
    """``text`` and below it a line a choice, "A. ..."."""
    return "\n".join([text, *(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))])


AskedLoader = Callable[[Place], Iterable[Asked | Cut]]


@dataclass(frozen=True, slots=True)
class Questions:
    """The chosen questions, how many there were in all, how many were left out for which reason, and where they were read."""

    questions: tuple[Question, ...]
    pool: int
    reasons: Mapping[str, int]
    origin: str


@dataclass(frozen=True, slots=True)
class Wording:
    """What is put around a question, as the field does it. ``{category}`` in ``header`` is the question's, in plain words."""

    header: str = ""
    """Once, before examples and question."""
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """A registered set of questions.

    Attributes:
        title: short, for reports.
        form: how it is answered unless a recipe says otherwise (`evaluation.forms`).
        wording: what stands around its questions in that form.
        examples: loader of answered questions to show first, where the set has some apart from its test; the examples of a
            question are those of its category, where they have categories.
    """

    source: Source
    loader: AskedLoader
    title: str
    form: str
    wording: Wording
    examples: AskedLoader | None = None

    @property
    def name(self) -> str:
        return self.source.name

    def read(
        self, place: PlaceSpec | None = None, choose: Callable[[Sequence[Question]], Sequence[Question]] = list
    ) -> Questions:
        """The questions that ``choose`` takes; only of these are pictures kept that lie in a Parquet file.

        Args:
            place: as the user names it. None: where `Source.read` looks.

        Raises:
            UserError: the set is nowhere to be had, its files are not as they should be, or nothing of it can be used.
        """
        found = self._place(place)
        hashes: dict[Path, str] = {}
        pictured = self.source.info.pictures > 0
        items = published(self.loader(found), self.name, found)
        read, cut = sift(items, lambda a: _unfit(a, pictured), lambda a: self._question(a, hashes))
        if not read:
            why = f"; all {sum(cut.values())} of it were left out ({', '.join(cut)})" if cut else ""
            raise UserError(
                f"{found.file or found.folder} holds no question of {self.name} that can be used{why}; "
                f"{self.source.how_to_get()}"
            )
        chosen = list(choose(read))
        if any(len(q.images) < len(q.images_sha256) for q in chosen):
            chosen = self._with_pictures(chosen, found, hashes)
        return Questions(tuple(chosen), len(read), cut, found.title)

    def read_examples(self, place: PlaceSpec | None = None) -> list[Question]:
        """Answered questions to show as examples, in the publisher's order. UserError where the set has none."""
        if self.examples is None:
            raise UserError(f"{self.name} has no examples apart from its test; leave its shots out")
        found = self._place(place)
        read = published(self.examples(found), self.name, found)
        return [self._question(asked, {}) for asked in read if isinstance(asked, Asked)]

    def _place(self, named: PlaceSpec | None) -> Place:
        if isinstance(named, Mapped):
            raise UserError(
                f"{self.name} holds questions with their right answers, for which a table with mapped columns is not enough; "
                "name a folder or a file in its publisher's layout"
            )
        return self.source.place(named)

    def _question(self, asked: Asked, hashes: dict[Path, str]) -> Question:
        """``images`` are left empty where any picture is not a file yet."""
        shown = [picture for picture in asked.pictures if picture is not None]
        files = [picture.absolute() for picture in shown if isinstance(picture, Path)]
        return Question(
            asked.text,
            self.name,
            asked.choices,
            asked.right,
            asked.answers,
            asked.category,
            asked.group,
            asked.listed,
            asked.solution,
            images=tuple(map(str, files)) if len(files) == len(shown) else (),
            images_sha256=tuple(_sha256(picture, hashes) for picture in shown),
        )

    def _with_pictures(self, chosen: Sequence[Question], place: Place, hashes: dict[Path, str]) -> list[Question]:
        """Read once more, and keep the pictures of ``chosen`` as files of the cache."""
        wanted = {question.id for question in chosen}
        images: dict[str, tuple[str, ...]] = {}
        for asked in self.loader(place):
            if isinstance(asked, Cut) or (key := self._question(asked, hashes).id) not in wanted or key in images:
                continue
            shown = [picture for picture in asked.pictures if picture is not None]
            images[key] = tuple(str(stored(p) if isinstance(p, bytes) else p.absolute()) for p in shown)
        return [replace(question, images=images[question.id]) for question in chosen]


def _unfit(asked: Asked, pictures: bool) -> str:
    if not asked.text:
        return EMPTY
    return NO_PICTURE if pictures and (not asked.pictures or None in asked.pictures) else ""


def _sha256(picture: Picture, hashes: dict[Path, str]) -> str:
    if isinstance(picture, bytes):
        return hashlib.sha256(picture).hexdigest()
    path = picture.absolute()
    return hashes.get(path) or hashes.setdefault(path, file_sha256(path))


QUESTION_SETS: Registry[QuestionSet] = Registry("set of questions", "textunlearn.data.sources", "textunlearn datasets")


def question_set(
    name: str,
    info: SourceInfo,
    *,
    title: str,
    form: str,
    wording: Wording | None = None,
    examples: AskedLoader | None = None,
) -> Callable[[AskedLoader], AskedLoader]:
    """Register a loader of questions, as a set of questions and as a source of requests."""

    def add(loader: AskedLoader) -> AskedLoader:
        part = register(Source(name, info, lambda place: _items(loader(place))))
        QUESTION_SETS.register(name)(QuestionSet(part, loader, title, form, wording or Wording(), examples))
        return loader

    return add


def _items(found: Iterable[Asked | Cut]) -> Iterator[Item | Cut]:
    """The questions as requests: what a user would type, beside the one picture that a request may have."""
    for asked in found:
        if isinstance(asked, Cut):
            yield asked
        elif len(asked.pictures) > 1:
            yield Cut(SEVERAL)
        else:
            reference = asked.choices[asked.right] if asked.choices else next(iter(asked.answers), "")
            picture = asked.pictures[0] if asked.pictures else None
            yield Item(asked.with_choices(), asked.category, reference, picture=picture)


def read_questions(
    name: str,
    places: Mapping[str, PlaceSpec] | None = None,
    choose: Callable[[Sequence[Question]], Sequence[Question]] = list,
) -> Questions:
    """The questions of the set of that name, from the place that ``places`` names for it or for its family, if any."""
    part = QUESTION_SETS.get(name)
    return part.read(place_for(part.source, places or {}), choose)


def read_examples(name: str, places: Mapping[str, PlaceSpec] | None = None) -> list[Question]:
    """The examples of that set, from the same place."""
    part = QUESTION_SETS.get(name)
    return part.read_examples(place_for(part.source, places or {}))
