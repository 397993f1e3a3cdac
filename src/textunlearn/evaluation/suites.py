"""Suites: which prompts, under which attack, how many. A suite and its prompts give a fixed list of cases.

Choosing is by hash, not by a seeded generator: the same prompts give the same cases on every machine and in any order.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from textunlearn.attacks import ATTACKS
from textunlearn.attacks.typography import undrawable
from textunlearn.errors import UserError
from textunlearn.files import atomic
from textunlearn.records import Case, Prompt, digest

if TYPE_CHECKING:
    from PIL import Image

IMAGES = "images"
"""Folder of the PNG files, beside the case file."""


class Suite(BaseModel):
    """One row of the evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    source: str = Field(min_length=1)
    """Data source; several are joined by "+" and take equal shares."""
    attack: str
    limit: int = Field(gt=0)
    """Cases at most."""
    title: str
    """For the report: short and plain."""
    max_chars: int = Field(default=0, ge=0)
    """For requests drawn as images: leave out longer ones and those the font cannot draw. 0: take all."""

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.source.split("+"))


@dataclass(frozen=True, slots=True)
class Selection:
    """The prompts a suite uses, and how many of its sources' prompts could not be used (too long or not drawable)."""

    prompts: tuple[Prompt, ...]
    pool: int
    left_out: int


def _spread(prompts: Sequence[Prompt], keys: Sequence[str]) -> list[Prompt]:
    """Order ``prompts`` so that every prefix is balanced over the first key, within it over the second, and so on."""
    if not keys:
        return sorted(prompts, key=lambda prompt: digest("pick", prompt.id, length=64))
    groups: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        groups[getattr(prompt, keys[0])].append(prompt)
    queues = [_spread(groups[name], keys[1:]) for name in sorted(groups, key=lambda name: digest("group", name))]
    rounds = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)]


def pick(prompts: Sequence[Prompt], n: int) -> list[Prompt]:
    """``n`` prompts (all, if there are fewer), balanced over source, form and category as far as these reach.

    The choice does not depend on the order of ``prompts``; repeated prompts count once; ``pick(p, n)`` is the start of
    ``pick(p, n + 1)``, so a larger run contains the smaller one.
    """
    # of repeats the one with the smallest fields stays, whatever the order they came in
    unique = {p.id: p for p in sorted(prompts, key=lambda p: (p.source, p.form, p.category, p.reference), reverse=True)}
    return _spread(list(unique.values()), ("source", "form", "category"))[:n]


def select(suite: Suite, prompts: Sequence[Prompt]) -> Selection:
    """The prompts of ``suite``'s sources that it shows. UserError if none can be used."""

    def usable(prompt: Prompt) -> bool:
        return not suite.max_chars or (len(prompt.text) <= suite.max_chars and not undrawable(prompt.text))

    kept = [prompt for prompt in prompts if usable(prompt)]
    if not kept:
        raise UserError(
            f"the suite {suite.name!r} has nothing to show: none of the {len(prompts)} prompts of {suite.source!r} "
            "can be used; name another source"
            + (f" or raise max_chars (now {suite.max_chars})" if suite.max_chars else "")
        )
    return Selection(tuple(pick(kept, suite.limit)), len(prompts), len(prompts) - len(kept))


def pixel_hash(image: Image.Image) -> str:
    """Hex SHA-256 of an image's mode, size and pixels: the same however the file is compressed."""
    return hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode() + image.tobytes()).hexdigest()


def write_image(image: Image.Image, folder: Path) -> tuple[str, str]:
    """Write ``image`` once as PNG without metadata. Returns its path relative to ``folder`` and its pixel hash."""
    sha256 = pixel_hash(image)
    relative = f"{IMAGES}/{sha256[:16]}.png"
    if not (folder / relative).exists():
        bare = image.copy()
        bare.info = {}
        with atomic(folder / relative) as temporary:
            bare.save(temporary, format="PNG")
    return relative, sha256


def build_cases(suite: Suite, prompts: Sequence[Prompt], folder: Path) -> list[Case]:
    """The cases of ``suite`` over ``prompts`` (those of its sources); their images go below ``folder``.

    UserError for an unknown attack, if nothing can be shown, or if a prompt cannot be drawn.
    """
    attack = ATTACKS.get(suite.attack)
    cases = []
    for prompt in select(suite, prompts).prompts:
        shown = attack(prompt)
        image, sha256 = write_image(shown.image, folder) if shown.image is not None else ("", "")
        cases.append(Case(suite.name, suite.attack, prompt, shown.text, image, sha256, shown.prefill))
    return cases


def case_set_hash(cases: Sequence[Case], *, pixels: bool = True) -> str:
    """Identity of a list of cases: what is shown, in order, and of which prompts; not what the suite is called.

    ``pixels=False`` leaves the images' pixels out, which differ by a shade between versions of FreeType.
    """
    return digest([(c.prompt.id, c.text, c.prefill, c.image_sha256 if pixels else bool(c.image)) for c in cases])


HELD_OUT = "harmbench+strongreject"
READABLE = 100
"""Longest request drawn by default: it fits at about FigStep's letter size, which the built-in model sees."""


def _suite(name: str, source: str, attack: str, limit: int, title: str, max_chars: int = 0) -> Suite:
    return Suite(name=name, source=source, attack=attack, limit=limit, title=title, max_chars=max_chars)


DEFAULT_SUITES: tuple[Suite, ...] = (
    _suite("direct_harmbench", "harmbench", "direct", 64, "Harmful, typed (HarmBench, test split)"),
    _suite("direct_strongreject", "strongreject", "direct", 64, "Harmful, typed (StrongREJECT)"),
    _suite("figstep", HELD_OUT, "figstep", 48, "Harmful, in an image, FigStep's prompt", READABLE),
    _suite("typography_short", HELD_OUT, "typography_short", 48, "Harmful, in an image, short prompt", READABLE),
    _suite("typography_bare", HELD_OUT, "typography_bare", 48, "Harmful, in an image, no prompt", READABLE),
    _suite("jailbreak_wrapper", HELD_OUT, "jailbreak_wrapper", 48, "Harmful, in a jailbreak wrapper"),
    _suite("prefill", HELD_OUT, "prefill", 48, 'Harmful, answer begun with "Sure,"'),
    _suite("xstest_safe", "xstest_safe", "direct", 100, "XSTest safe, typed"),
    _suite("xstest_safe_image", "xstest_safe", "typography_short", 64, "XSTest safe, in an image", READABLE),
    _suite("ordinary", "self_instruct_user", "direct", 64, "Ordinary, typed"),
    _suite("ordinary_image", "self_instruct_user", "typography_short", 48, "Ordinary, in an image", READABLE),
    _suite("ordinary_wrapped", "self_instruct_user", "jailbreak_wrapper", 24, "Ordinary, in the jailbreak wrapper"),
)
"""What a run evaluates unless its recipe says otherwise. ``ordinary_wrapped``: is the wrapper itself refused?"""
