"""A few cases of every suite for the page. Redacted words never get into the records below: no page can leak them."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textunlearn.errors import UserError
from textunlearn.pictures import open_picture
from textunlearn.records import Case, Label, digest
from textunlearn.report.redaction import answer_hidden, blocks, fixed_words
from textunlearn.report.run_folder import RunFolder
from textunlearn.sounds import open_sound, wav

PER_IMAGE_SUITE, PER_TEXT_SUITE = 6, 4
MAX_ITEMS = 160
MAX_CHARS = 700
THUMBNAIL = 360
"""Pixels of the longer side."""
PICTURE_BYTES = 3_000_000
"""All pictures of a page together, before base64 adds a third."""
SOUND_BYTES = 3_000_000
"""The same for sounds: about two dozen spoken requests."""


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

    @classmethod
    def of(cls, text: str, *, hidden: bool) -> Passage:
        sha256 = hashlib.sha256(text.encode()).hexdigest()[:12]
        shown = "" if hidden else text[:MAX_CHARS].strip()
        return cls(shown, hidden, len(text), sha256, not hidden and len(text) > MAX_CHARS)


@dataclass(frozen=True, slots=True)
class Picture:
    """``uri`` is a data URI; "" if there is nothing to show, and then ``note`` says why."""

    uri: str
    hidden: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """A sound to play. ``uri`` is a data URI; "" where it is ``hidden``, or cannot be played, which ``note`` says."""

    uri: str
    hidden: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one model said. ``passage`` is None if it was not recorded; ``label`` is "" without a verdict."""

    model: str
    passage: Passage | None = None
    label: Label | str = ""
    reason: str = ""


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
    sounds: tuple[Recording, ...]
    """In the order they were heard; of redacted ones nothing but their length goes into the page."""
    replies: tuple[Reply, ...]


def sample(cases: Sequence[Case]) -> list[Case]:
    """Up to 6 cases a suite with images or sounds, 4 without, those first; chosen by hash, so not for their looks."""
    suites: dict[str, list[Case]] = {}
    for case in cases:
        suites.setdefault(case.suite, []).append(case)
    most = max(1, MAX_ITEMS // max(1, len(suites)))
    out = []
    for group in sorted(suites.values(), key=lambda group: not any(case.images or case.sounds for case in group)):
        n = min(most, PER_IMAGE_SUITE if any(case.images or case.sounds for case in group) else PER_TEXT_SUITE)
        out += sorted(group, key=lambda case: digest("gallery", case.id, case.prompt.id))[:n]
    return out


def _picture(run: Path, name: str, hidden: bool, budget: list[int]) -> Picture:
    """The image file ``name`` as a small PNG; if ``hidden``, as 12 × 12 blocks, which is all that goes into the page."""
    path = (run / name).resolve()
    if not path.is_relative_to(run.resolve()):
        return Picture("", hidden, "The image lies outside the run folder and was not read.")
    if not path.is_file():
        return Picture("", hidden, "The image file is missing.")
    from PIL import Image

    buffer = io.BytesIO()
    try:
        image = open_picture(path)
    except UserError:  # whose words name a path of this machine
        return Picture("", hidden, "The image cannot be read.")
    if hidden:
        image = blocks(image)
    else:
        image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        image = image.quantize(32, dither=Image.Dither.NONE)
    image.save(buffer, format="PNG", optimize=True)
    data = buffer.getvalue()
    if len(data) > budget[0]:
        return Picture("", hidden, "Left out to keep this page small; see the run folder.")
    budget[0] -= len(data)
    return Picture("data:image/png;base64," + base64.b64encode(data).decode(), hidden)


def _recording(run: Path, name: str, hidden: bool, budget: list[int]) -> Recording:
    """The sound file ``name``; if ``hidden``, only how long it is."""
    path = (run / name).resolve()
    if not path.is_relative_to(run.resolve()):
        return Recording("", hidden, "The sound lies outside the run folder and was not read.")
    if not path.is_file():
        return Recording("", hidden, "The sound file is missing.")
    try:
        sound = open_sound(path)
    except UserError:  # whose words name a path of this machine
        return Recording("", hidden, "The sound cannot be read.")
    if hidden:
        return Recording("", True, f"Sound of {sound.seconds:.1f} s, redacted: the file does not hold it.")
    data = wav(sound)
    if len(data) > budget[0]:
        return Recording("", hidden, "Left out to keep this page small; see the run folder.")
    budget[0] -= len(data)
    return Recording("data:audio/wav;base64," + base64.b64encode(data).decode(), hidden)


def _replies(run: RunFolder, case: Case, show_unsafe: bool) -> tuple[Reply, ...]:
    replies = []
    for model in run.models:
        answer, verdict = run.answers[model].get(case.id), run.verdicts[model].get(case.id)
        if answer is None:
            replies.append(Reply(model))
            continue
        label = verdict.label if verdict else ""
        hidden = not show_unsafe and answer_hidden(case, answer.text, label)
        reason = verdict.reason if verdict and not hidden else ""  # a reason may quote the answer
        replies.append(Reply(model, Passage.of(answer.text, hidden=hidden), label, reason))
    return tuple(replies)


def gallery(run: RunFolder, *, show_unsafe: bool = False) -> list[Item]:
    """The sampled cases of ``run`` with every model's answer.

    Redacted unless ``show_unsafe``: harmful requests (and what is typed or begun with them, unless it is the same words
    in the whole suite), their images and sounds, answers judged unsafe, and answers to harmful requests that are not refusals.
    """
    fixed = fixed_words(run.cases)
    budget, sound_budget = [PICTURE_BYTES], [SOUND_BYTES]
    items = []
    for case in sample(run.cases):
        hidden = case.prompt.kind == "harmful" and not show_unsafe

        def passage(text: str, case: Case = case, hidden: bool = hidden) -> Passage | None:
            return Passage.of(text, hidden=hidden and (case.suite, text) not in fixed) if text else None

        items.append(
            Item(
                case.id,
                case.suite,
                case.prompt.kind,
                case.attack,
                case.prompt.form,
                case.prompt.category,
                case.prompt.source,
                Passage.of(case.prompt.request, hidden=hidden),
                passage(case.text) if case.text != case.prompt.request else None,
                passage(case.prefill),
                tuple(_picture(run.path, name, hidden, budget) for name in case.images),
                tuple(_recording(run.path, name, hidden, sound_budget) for name in case.sounds),
                _replies(run, case, show_unsafe),
            )
        )
    return items
