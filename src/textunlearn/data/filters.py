"""What is left out of a set of prompts, and how a set is split. Every result says how many prompts were cut."""

# ruff: noqa: SIM905 - word lists read better as text
from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from textunlearn.records import Prompt, digest

# Wide on purpose: a harmful request that only mentions a school is no loss, one about a minor must never be used.
_MINORS = re.compile(
    r"""\b(?:
        (?:grand|step|god|foster)?-?(?:child\w* | kids? | sons? | daughters?) | kiddies? | teen\w* | pre-?teens? | tweens?
      | under-?\s?age\w* | toddlers? | infant\w* | bab(?:y|ies) | newborns? | boys? | girls? | nephews? | nieces? | orphan\w*
      | (?:(?:high|middle|pre)-?)?school\w* | (?:student|pupil)\w* | kindergar\w* | day-?care\w* | playgrounds?
      | \w+(?:st|nd|rd|th)[\s-]grade(?:rs?)? | adolescen\w* | juveniles? | youngsters? | youths? | pre-?pubesc\w*
      | aged?\s+(?:1[0-7]|[1-9]) | young\s+(?:people|persons?|audiences?|ones?|wom[ae]n|m[ae]n|adults?)
      | p(?:a?e|æ)do(?:s|ph\w*)? | loli\w* | shota\w* | cs[ae]m | jailbait | barely\s+legal
      | (?:not\s+yet|below|under|before)[\s-]+(?:the\s+age\s+of\s+)?(?:1[0-8]s?|eighteen)
      | (?:1[0-7]|[1-9]|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven)teen)
        [\s-]?(?:(?:years?|yrs?)[\s-](?:olds?|of\s+age)|y[./]?os?)
      | minors | minor(?!\s+(?:injur|accident|crim|offen[cs]e|damage|detail|change|error|issue|problem|bug|burn|cut)\w*)
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)

_STOP = frozenset(
    """
    a about all an and any anyone are as at be by can could do does explain for from get give has have how i if
    in into is it its me my of on one or our out over people please provide show some someone step steps teach
    tell that the their them then there they this to up use used using want was way ways we what when where
    which who will with without would write you your create describe develop detailed guide instruction
    instructions instruct list make method methods outline tutorial
    """.split()
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a filter kept, in the order given, and how many prompts it cut."""

    prompts: list[Prompt]
    cut: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    """How many for which reason, where there is more than one."""
    origin: str = ""
    """Where a data set was read from, without a path of this machine: a package, the hub, a place that was named."""


def _keep(prompts: Sequence[Prompt], kept: list[Prompt]) -> Kept:
    return Kept(kept, len(prompts) - len(kept))


def mentions_minor(text: str) -> bool:
    """Whether a word of ``text`` may mean a person under age. Made for harmful requests: it errs on the side of yes."""
    return _MINORS.search(text) is not None


def drop_minors(prompts: Sequence[Prompt]) -> Kept:
    """Leave out every harmful prompt that may be about minors; harmless prompts stay."""
    return _keep(prompts, [p for p in prompts if p.kind != "harmful" or not mentions_minor(p.text)])


def unique(prompts: Sequence[Prompt]) -> Kept:
    """Leave out repeats: the same words, whatever their case and punctuation, beside the same picture or none."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for prompt in prompts:
        key = (" ".join(re.findall(r"\w+", prompt.text.casefold())) or prompt.text, prompt.image_sha256)
        if key not in seen:
            seen.add(key)
            kept.append(prompt)
    return _keep(prompts, kept)


def content_words(text: str) -> frozenset[str]:
    """The words that say what a request is about: lower case, plural "s" off, without words of asking or grammar.

    A text of nothing but such words keeps them all.
    """
    words = re.findall(r"[^\W_]+", text.casefold())
    kept = frozenset(
        w[:-1] if len(w) > 3 and w.endswith("s") and w[-2] not in "su" else w for w in words if w not in _STOP
    )
    return kept or frozenset(words)


def near_duplicates(prompts: Iterable[Prompt], others: Iterable[Prompt], threshold: float = 0.6) -> list[Prompt]:
    """Those of ``prompts`` with a near one in ``others``: Jaccard index of content words >= ``threshold`` (0 to 1).

    Of others whose words only point at a picture, what is really asked counts too.
    """
    pool = [content_words(text) for other in others for text in dict.fromkeys((other.text, other.request))]
    by_word: dict[str, list[int]] = {}
    for number, words in enumerate(pool):
        for word in words:
            by_word.setdefault(word, []).append(number)
    found = []
    for prompt in prompts:
        words = content_words(prompt.text)
        shared: dict[int, int] = {}
        for word in words:
            for number in by_word.get(word, ()):
                shared[number] = shared.get(number, 0) + 1
        if any(n >= threshold * (len(words) + len(pool[number]) - n) for number, n in shared.items()):
            found.append(prompt)
    return found


def without_overlap(train: Sequence[Prompt], test: Iterable[Prompt], threshold: float = 0.6) -> Kept:
    """``train`` without the near-duplicates of ``test``."""
    near = set(near_duplicates(train, test, threshold))
    return _keep(train, [p for p in train if p not in near])


def by_hash(prompts: Iterable[Prompt], seed: int = 0) -> list[Prompt]:
    """A shuffle that depends only on each text and ``seed``, not on the order given."""
    return sorted(prompts, key=lambda p: (digest("order", seed, p.text), p.id))


def sample(prompts: Sequence[Prompt], limit: int | None, seed: int = 0) -> list[Prompt]:
    """``limit`` prompts chosen by hash, in the order given; all of them where ``limit`` is None."""
    if limit is None or limit >= len(prompts):
        return list(prompts)
    chosen = set(by_hash(prompts, seed)[:limit])
    return [p for p in prompts if p in chosen][:limit]


def smallest(prompts: Iterable[Prompt], limit: int, seed: int = 0) -> list[Prompt]:
    """What `sample` chooses, from prompts that come one after the other: no more than ``limit`` of them are held at once. Of prompts that
    are the same in all, one is taken."""
    held: list[tuple[int, int, Prompt]] = []  # a heap, the one that would go next on top
    known: set[Prompt] = set()
    for number, prompt in enumerate(prompts):
        if prompt in known:
            continue
        key = -int(digest("order", seed, prompt.text) + prompt.id, 16)
        if len(held) < limit:
            heapq.heappush(held, (key, number, prompt))
            known.add(prompt)
        elif key > held[0][0]:
            known.add(prompt)
            known.discard(heapq.heapreplace(held, (key, number, prompt))[2])
    return [prompt for _, prompt in sorted((number, prompt) for _, number, prompt in held)]


def split(prompts: Iterable[Prompt], test_share: float, seed: int = 0) -> tuple[list[Prompt], list[Prompt]]:
    """(train, test). Each text's hash decides alone, so that adding or reordering prompts moves no other prompt across.

    ``test_share`` (0 to 1) is met on average, not exactly.
    """
    train: list[Prompt] = []
    test: list[Prompt] = []
    for prompt in prompts:
        position = int(digest("split", seed, prompt.text), 16) / 16**16
        (test if position < test_share else train).append(prompt)
    return train, test


def data_hash(prompts: Iterable[Prompt]) -> str:
    """Short SHA-256 of the prompts with all their fields, in any order."""

    def fields(p: Prompt) -> list[str]:
        # What came later is left out where it is empty: sets without it keep the hash they had before.
        later = [p.image_sha256, p.asked] if p.asked else [p.image_sha256] if p.image_sha256 else []
        return [p.kind, p.text, p.source, p.form, p.category, p.reference, *later]

    return digest(sorted(map(fields, prompts)))
