"""The cases of a run, ready to show. Redacted words never get into the records below: no page can leak them."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from textunlearn.errors import UserError
from textunlearn.pictures import open_picture
from textunlearn.records import Case, Label, Verdict, digest
from textunlearn.report.redaction import answer_hidden, blocks, fixed_words
from textunlearn.report.run_folder import RunFolder

Progress = Callable[[int, int], None]
"""Is told of (done, all)."""
MAX_ITEMS = 4000
"""Cases of a page at most."""
PER_SUITE, SAMPLE = 2, 32
"""Cases that are shown, and printed, without the page's script: of a suite, and in all."""
MAX_CHARS = (700, 400, 250, 150)
"""Characters of a text on the page: the most with which all texts fit into TEXT_BYTES, or the last."""
TEXT_BYTES = 1_800_000
THUMBNAILS = ((150, 360), (500, 260), (1_000_000, 180))
"""Up to so many different pictures, pixels of the longer side."""
PICTURE_BYTES = 1_500_000
"""All pictures of a page together, before base64 adds a third."""
TOO_MANY = "Left out to keep this page small; see the run folder."


@dataclass(frozen=True, slots=True)
class Passage:
    """A text, or, if redacted, only what it measures. ``text`` is "" when ``hidden``."""

    text: str
    hidden: bool
    length: int
    """Characters of the whole text."""
    sha256: str
    """First 12 hex digits."""
    cut: bool = False
    harmful: bool = False
    """It would be hidden in a page that shows no unsafe words."""

    @classmethod
    def of(cls, text: str, *, hidden: bool, harmful: bool = False, most: int = MAX_CHARS[0]) -> Passage:
        sha256 = hashlib.sha256(text.encode()).hexdigest()[:12]
        shown = "" if hidden else text[:most].strip()
        return cls(shown, hidden, len(text), sha256, not hidden and len(text) > most, harmful or hidden)


@dataclass(frozen=True, slots=True)
class Picture:
    """``uri`` is a data URI; "" if there is nothing to show, and then ``note`` says why."""

    uri: str
    hidden: bool
    note: str = ""
    harmful: bool = False


@dataclass(frozen=True, slots=True)
class Opinion:
    """What another judge says of an answer."""

    judge: str
    label: Label
    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What one model said. ``passage`` is None if it was not recorded; ``label`` is "" without a verdict."""

    model: str
    passage: Passage | None = None
    label: Label | str = ""
    reason: str = ""
    opinions: tuple[Opinion, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One case, ready to show. ``typed`` is None if nothing was typed or it equals the request."""

    id: str
    suite: str
    kind: str
    attack: str
    form: str
    category: str
    source: str
    request: Passage
    typed: Passage | None
    prefill: Passage | None
    pictures: tuple[Picture, ...]
    """In the order they were shown."""
    replies: tuple[Reply, ...]


def _drawn(case: Case) -> str:
    return digest("gallery", case.id, case.prompt.id)


def sample(items: Sequence[Item]) -> list[Item]:
    """Up to 2 cases a suite and 32 in all, suites with pictures first; chosen by hash, so not for their looks."""
    suites: dict[str, list[Item]] = {}
    for item in items:
        suites.setdefault(item.suite, []).append(item)
    groups = sorted(suites.values(), key=lambda group: not any(item.pictures for item in group))
    each = PER_SUITE if PER_SUITE * len(groups) <= SAMPLE else 1
    return [item for group in groups for item in sorted(group, key=lambda i: digest("sample", i.id))[:each]][:SAMPLE]


class _Pictures:
    """Pictures as small WebP files, each once, until the page's budget is spent."""

    def __init__(self, run: Path, different: int) -> None:
        self.run, self.left = run, PICTURE_BYTES
        self.size = next(size for most, size in THUMBNAILS if different <= most)
        self._full = False
        self._uris: set[str] = set()
        self._known: dict[tuple[str, bool, bool], Picture] = {}

    def get(self, name: str, *, hidden: bool, harmful: bool) -> Picture:
        key = name, hidden, harmful
        if key not in self._known:
            self._known[key] = self._made(*key)
        return self._known[key]

    def _made(self, name: str, hidden: bool, harmful: bool) -> Picture:
        """The image file ``name``; if ``hidden``, as 12 × 12 blocks, which is all that goes into the page."""
        path = (self.run / name).resolve()
        if not path.is_relative_to(self.run.resolve()):
            return Picture("", hidden, "The image lies outside the run folder and was not read.")
        if not path.is_file():
            return Picture("", hidden, "The image file is missing.")
        if self._full and not hidden:
            return Picture("", hidden, TOO_MANY)
        from PIL import Image

        try:
            image = open_picture(path)
        except UserError:  # whose words name a path of this machine
            return Picture("", hidden, "The image cannot be read.")
        if hidden:
            data = _encoded(blocks(image), lossless=True)
        else:
            image.thumbnail((self.size, self.size), Image.Resampling.LANCZOS)
            # Drawn letters are smaller and sharper without loss, photos the other way round.
            few = image.convert("RGB").quantize(16, dither=Image.Dither.NONE).convert("RGB")
            data = min(_encoded(few, lossless=True), _encoded(image, lossless=False), key=len)
        uri = "data:image/webp;base64," + base64.b64encode(data).decode()
        if uri not in self._uris and len(data) > self.left:
            self._full = self._full or not hidden  # and so are all that come after: to try each would take minutes
            return Picture("", hidden, TOO_MANY)
        if uri not in self._uris:
            self._uris.add(uri)
            self.left -= len(data)
        return Picture(uri, hidden, harmful=harmful)


def _encoded(image: object, *, lossless: bool) -> bytes:
    from PIL import Image

    assert isinstance(image, Image.Image)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="WEBP", lossless=lossless, quality=70, method=2)
    return buffer.getvalue()


def _replies(run: RunFolder, case: Case, show_unsafe: bool, most: int) -> tuple[Reply, ...]:
    replies = []
    for model in run.models:
        answer, verdict = run.answers[model].get(case.id), run.verdicts[model].get(case.id)
        if answer is None:
            replies.append(Reply(model))
            continue
        label = verdict.label if verdict else ""
        harmful = answer_hidden(case, answer.text, label)
        hidden = harmful and not show_unsafe

        def reason(found: Verdict | None, hidden: bool = hidden) -> str:
            return found.reason[:most] if found and not hidden else ""  # it may quote the answer

        others = [(judge, found) for judge, by_case in run.opinions[model].items() if (found := by_case.get(case.id))]
        replies.append(
            Reply(
                model,
                Passage.of(answer.text, hidden=hidden, harmful=harmful, most=most),
                label,
                reason(verdict),
                tuple(Opinion(judge, found.label, reason(found)) for judge, found in others),
            )
        )
    return tuple(replies)


def _most(texts: Iterable[str]) -> int:
    """Characters of each text that the page has room for."""
    sizes = [(len(text), len(text.encode()) / max(1, len(text))) for text in texts]
    for most in MAX_CHARS:
        if sum(min(length, most) * wide for length, wide in sizes) <= TEXT_BYTES:
            return most
    return MAX_CHARS[-1]


def gallery(run: RunFolder, *, show_unsafe: bool = False, progress: Progress | None = None) -> list[Item]:
    """The cases of ``run`` with every model's answer, in the order of the case file; of more than 4,000 those that a hash draws.

    Redacted unless ``show_unsafe``: harmful requests (and what is typed or begun with them, unless it is the same words
    in the whole suite), their images, answers judged unsafe, and answers to harmful requests that are not refusals.
    """
    fixed = fixed_words(run.cases)
    chosen: Sequence[Case] = run.cases
    if len(chosen) > MAX_ITEMS:
        kept = {id(case) for case in sorted(chosen, key=_drawn)[:MAX_ITEMS]}
        chosen = [case for case in chosen if id(case) in kept]
    names = {(name, case.prompt.kind == "harmful") for case in chosen for name in case.images}
    pictures = _Pictures(run.path, sum(show_unsafe or not harmful for _, harmful in names))
    answers = (answer.text for by_case in run.answers.values() for answer in by_case.values())
    most = _most((*(case.prompt.request for case in chosen), *(case.text for case in chosen), *answers))
    items = []
    for done, case in enumerate(chosen, start=1):
        if progress is not None:
            progress(done, len(chosen))
        harmful = case.prompt.kind == "harmful"
        hidden = harmful and not show_unsafe

        def passage(text: str, case: Case = case, harmful: bool = harmful, hidden: bool = hidden) -> Passage | None:
            names_it = (case.suite, text) not in fixed
            return (
                Passage.of(text, hidden=hidden and names_it, harmful=harmful and names_it, most=most) if text else None
            )

        items.append(
            Item(
                case.id,
                case.suite,
                case.prompt.kind,
                case.attack,
                case.prompt.form,
                case.prompt.category,
                case.prompt.source,
                Passage.of(case.prompt.request, hidden=hidden, harmful=harmful, most=most),
                passage(case.text) if case.text != case.prompt.request else None,
                passage(case.prefill),
                tuple(pictures.get(name, hidden=hidden, harmful=harmful) for name in case.images),
                _replies(run, case, show_unsafe, most),
            )
        )
    return items
