"""Suites: which prompts, under which attack, how many. A suite and its prompts give a fixed list of cases.

Choosing is by hash, not by a seeded generator: the same prompts give the same cases on every machine and in any order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from textunlearn.attacks.grammar import resolve
from textunlearn.attacks.typography import undrawable
from textunlearn.errors import UserError
from textunlearn.files import atomic
from textunlearn.pictures import pixel_hash
from textunlearn.records import Case, Prompt, Question, digest
from textunlearn.sounds import Sound
from textunlearn.sounds import write_sound as write_wav

if TYPE_CHECKING:
    from PIL import Image

IMAGES, SOUNDS = "images", "sounds"
"""Folders of the PNG and WAV files, beside the case file."""


class Suite(BaseModel):
    """One row of the evaluation. One of a recipe's own needs a source and an attack, and is called by them unless it says more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    source: str = Field(min_length=1)
    """Data source; several are joined by "+" and take equal shares."""
    attack: str
    """An attack expression (`textunlearn.attacks.grammar`)."""
    limit: int = Field(default=48, gt=0)
    """Cases at most."""
    title: str
    """For the report: short and plain."""
    max_chars: int = Field(default=0, ge=0)
    """For requests that are drawn or spoken: leave out longer ones and those the font cannot draw. 0: take all."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        source, attack = (value.get(key, "none") for key in ("source", "attack"))
        words = re.sub(r"[^a-z0-9]+", "_", f"{attack} {source}".lower()).strip("_")
        return {"name": words, "title": f"{source}, under {attack}", **value}

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.source.split("+"))


@dataclass(frozen=True, slots=True)
class Selection:
    """The prompts a suite uses, and how many of its sources' prompts could not be used (too long or not drawable)."""

    prompts: tuple[Prompt, ...]
    pool: int
    left_out: int


Asked = TypeVar("Asked", Prompt, Question)


def spread(prompts: Sequence[Asked], keys: Sequence[str]) -> list[Asked]:
    """Order ``prompts`` so that every prefix is balanced over the first key, within it over the second, and so on."""
    if not keys:
        return sorted(prompts, key=lambda prompt: digest("pick", prompt.id, length=64))
    groups: dict[str, list[Asked]] = defaultdict(list)
    for prompt in prompts:
        groups[getattr(prompt, keys[0])].append(prompt)
    queues = [spread(groups[name], keys[1:]) for name in sorted(groups, key=lambda name: digest("group", name))]
    rounds = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)]


def pick(prompts: Sequence[Prompt], n: int) -> list[Prompt]:
    """``n`` prompts (all, if there are fewer), balanced over source, form and category as far as these reach.

    The choice does not depend on the order of ``prompts``; repeated prompts count once; ``pick(p, n)`` is the start of
    ``pick(p, n + 1)``, so a larger run contains the smaller one.
    """
    # of repeats the one with the smallest fields stays, whatever the order they came in
    unique = {
        p.id: p
        for p in sorted(prompts, key=lambda p: (p.source, p.form, p.category, p.reference, p.asked), reverse=True)
    }
    return spread(list(unique.values()), ("source", "form", "category"))[:n]


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


def write_sound(sound: Sound, folder: Path) -> tuple[str, str]:
    """Write ``sound`` once as WAV. Returns its path relative to ``folder`` and its hash."""
    relative = f"{SOUNDS}/{sound.sha256[:16]}.wav"
    if not (folder / relative).exists():
        write_wav(sound, folder / relative)
    return relative, sound.sha256


def build_cases(suite: Suite, prompts: Sequence[Prompt], folder: Path) -> list[Case]:
    """The cases of ``suite`` over ``prompts`` (those of its sources); their images and sounds go below ``folder``.

    UserError for an unknown attack, if nothing can be shown, or if a prompt cannot be put that way (see `attacks.grammar.Chain`).
    """
    attack = resolve(suite.attack)
    cases = []
    for prompt in select(suite, prompts).prompts:
        shown = attack(prompt)
        written = [write_image(image, folder) for image in shown.images]
        images, hashes = tuple(path for path, _ in written), tuple(sha256 for _, sha256 in written)
        # no path of this machine goes into the case file: the prompt's picture is now the copy beside it
        stored = replace(prompt, image=images[0]) if prompt.image else prompt
        heard = [write_sound(sound, folder) for sound in shown.sounds]
        sounds = {"sounds": tuple(path for path, _ in heard), "sounds_sha256": tuple(sha256 for _, sha256 in heard)}
        cases.append(Case(suite.name, suite.attack, stored, shown.text, images, hashes, shown.prefill, **sounds))
    return cases


def case_set_hash(cases: Sequence[Case], *, pixels: bool = True) -> str:
    """Identity of a list of cases: what is shown, in order, and of which prompts; not what the suite is called.

    ``pixels=False`` leaves the images' pixels and the sounds' samples out, which differ by a shade between versions of FreeType and
    of the program that speaks.
    """

    def pictures(case: Case) -> object:
        if pixels:
            return case.pixels
        return len(case.images) if len(case.images) > 1 else bool(case.images)

    def sounds(case: Case) -> list[object]:
        if not case.sounds:
            return []
        return [case.sounds_sha256 if pixels else len(case.sounds)]

    return digest([(case.prompt.id, case.text, case.prefill, pictures(case), *sounds(case)) for case in cases])


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

BESIDE = "Harmful, typed beside "
MORE_SUITES: tuple[Suite, ...] = (
    _suite("role_play", HELD_OUT, "role_play", 48, "Harmful, in a role play"),
    _suite("prefix_injection", HELD_OUT, "prefix_injection", 48, "Harmful, answer's beginning dictated"),
    _suite("refusal_suppression", HELD_OUT, "refusal_suppression", 48, "Harmful, refusing words forbidden"),
    _suite("cue_what", HELD_OUT, "cue_what", 48, 'Harmful, "What" put in front'),
    _suite("cue_share", HELD_OUT, "cue_share", 48, 'Harmful, "Share" put in front'),
    _suite("typography_varied", HELD_OUT, "typography_varied", 48, "Harmful, in an image, other fonts", READABLE),
    _suite("mm_safetybench", HELD_OUT, "mm_safetybench", 48, "Harmful, key phrase in an image", READABLE),
    _suite("blank_image", HELD_OUT, "blank_image", 32, BESIDE + "a blank image"),
    _suite("noise_image", HELD_OUT, "noise_image", 32, BESIDE + "a noise image"),
    _suite("photo_image", HELD_OUT, "photo_image", 32, BESIDE + "a photo"),
    _suite("typed_and_drawn", HELD_OUT, "typed_and_drawn", 48, BESIDE + "an image of it", READABLE),
    _suite("xstest_safe_blank", "xstest_safe", "blank_image", 48, "XSTest safe, typed beside a blank image"),
    _suite("xstest_safe_photo", "xstest_safe", "photo_image", 48, "XSTest safe, typed beside a photo"),
    _suite("cue_share_safe", "xstest_safe", "cue_share", 48, 'XSTest safe, "Share" put in front'),
    _suite("ordinary_role_play", "self_instruct_user", "role_play", 32, "Ordinary, in a role play"),
)
"""What the comparison of methods measures beyond the default suites. ``xstest_safe_blank`` and ``xstest_safe_photo``
give the Safe Answer Refusal Rate of SafeEraser (arXiv 2502.12520): harmless questions beside harmless images."""

SPEAKABLE = 250
"""Longest request spoken by default: well below the half minute that Whisper's encoder, and with it many a model, hears at once."""
SPOKEN_SUITES: tuple[Suite, ...] = (
    _suite("spoken", HELD_OUT, "spoken", 48, "Harmful, spoken", SPEAKABLE),
    _suite("typed_and_spoken", HELD_OUT, "typed_and_spoken", 32, "Harmful, typed beside the words spoken", SPEAKABLE),
    _suite("noise_sound", HELD_OUT, "noise_sound", 32, "Harmful, typed beside noise to hear"),
    _suite("xstest_safe_spoken", "xstest_safe", "spoken", 48, "XSTest safe, spoken", SPEAKABLE),
    _suite("ordinary_spoken", "self_instruct_user", "spoken", 48, "Ordinary, spoken", SPEAKABLE),
)
"""For models that take sound."""

MORE_SETS: tuple[Suite, ...] = (
    _suite("direct_advbench", "advbench", "direct", 64, "Harmful, typed (AdvBench; quickstart trains on it)"),
    _suite("direct_contextual", "harmbench_contextual", "direct", 48, "Harmful, typed (HarmBench, about a passage)"),
    _suite(
        "direct_donotanswer",
        "donotanswer",
        "direct",
        64,
        "Harmful, typed (Do-Not-Answer; many deserve a careful answer)",
    ),
)
"""Further publishers' sets that the package index has."""

SUITES: dict[str, Suite] = {suite.name: suite for suite in (*DEFAULT_SUITES, *MORE_SUITES, *SPOKEN_SUITES, *MORE_SETS)}
"""All suites by name; a recipe may list any of them."""

_BROAD = (
    "direct_harmbench direct_contextual direct_strongreject direct_advbench direct_donotanswer jailbreak_wrapper figstep "
    "mm_safetybench photo_image xstest_safe xstest_safe_image ordinary ordinary_image"
)

_SPOKEN = [
    "direct_harmbench",
    "direct_strongreject",
    "jailbreak_wrapper",
    "prefill",
    "xstest_safe",
    "ordinary",
    "ordinary_wrapped",
]

SETS: dict[str, tuple[Suite, ...]] = {
    "default": DEFAULT_SUITES,
    "comparison": (*DEFAULT_SUITES, *MORE_SUITES),
    "broad": tuple(SUITES[name] for name in _BROAD.split()),
    "audio": (*(SUITES[name] for name in _SPOKEN), *SPOKEN_SUITES),
    "none": (),
}
"""What ``evaluation.suites`` may name in one word. ``broad``: as many publishers' sets as there are without the hub (HarmBench in two
parts, StrongREJECT, AdvBench, Do-Not-Answer, XSTest, Self-Instruct), typed and in or beside pictures.
``audio``: typed and spoken, for models that take sound and no pictures."""


def chosen(names: str | Sequence[str | Suite]) -> list[Suite]:
    """The suites of one of the ``SETS``, or those listed: named ones in the order of ``SUITES``, then the recipe's own.

    UserError for an unknown name or source, two suites of one name, or an attack that cannot be.
    """
    if isinstance(names, str):
        if names not in SETS:
            raise UserError(f"there is no set of suites {names!r}; choose from {', '.join(SETS)}")
        return list(SETS[names])
    own = [suite for suite in names if isinstance(suite, Suite)]
    named = [name for name in names if isinstance(name, str)]
    for name in named:
        if name not in SUITES:
            raise UserError(f"there is no suite {name!r}; choose from {', '.join(sorted(SUITES))}")
    taken = set(named)
    for suite in own:
        if suite.name in taken:
            raise UserError(f"two suites are called {suite.name!r}; give one another name")
        taken.add(suite.name)
        _check(suite)
    return [*(suite for suite in SUITES.values() if suite.name in named), *own]


def _check(suite: Suite) -> None:
    """UserError if a recipe's own suite names a source or an attack that there is not."""
    from textunlearn.data.sources import SOURCES

    try:
        resolve(suite.attack)
        for source in suite.sources:
            SOURCES.get(source)
    except UserError as error:
        raise UserError(f"the suite {suite.name!r}: {error}") from None


def sets_of(suite: Suite) -> list[str]:
    """The names of the ``SETS`` that ``suite`` belongs to."""
    return [name for name, suites in SETS.items() if suite in suites]
