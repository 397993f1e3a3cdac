"""What a run trains and validates on: disjoint parts of the trainable sources, kept apart from every test set."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from textunlearn.data.filters import by_hash, data_hash, sample, split, unique, without_overlap
from textunlearn.data.forms import in_forms
from textunlearn.data.loading import SourceSpec, as_spec, load_counted
from textunlearn.data.places import PlaceSpec
from textunlearn.data.safe_answers import topic_of
from textunlearn.data.sources import MINORS
from textunlearn.errors import UserError
from textunlearn.records import KINDS, Kind, Prompt, digest

TESTS = ("harmbench", "strongreject", "xstest_safe", "self_instruct_user")
"""Sets that evaluations use: nothing near them is trained on."""


OWN_WORDS = 0.3
"""Share of the harmful training prompts that stand in their own words beside the reworded form: most published requests are
imperatives, and with every form equally frequent those were the ones that still got through."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Prompts by role, and what was left out on the way."""

    harmful_train: tuple[Prompt, ...]
    harmful_validation: tuple[Prompt, ...]
    lookalike_train: tuple[Prompt, ...]
    lookalike_validation: tuple[Prompt, ...]
    ordinary_train: tuple[Prompt, ...]
    ordinary_validation: tuple[Prompt, ...]
    cut: Mapping[str, int] = field(default_factory=dict)
    """Prompts left out, by kind and reason, e.g. ``"harmful: near a test set": 24``."""

    def parts(self) -> dict[str, tuple[Prompt, ...]]:
        """The six sets by name."""
        return {f"{kind}_{role}": getattr(self, f"{kind}_{role}") for kind in KINDS for role in ("train", "validation")}

    def hashes(self) -> dict[str, str]:
        """Short SHA-256 of each set, for the run folder."""
        return {name: data_hash(prompts) for name, prompts in self.parts().items()}

    def forms(self) -> dict[str, dict[str, int]]:
        """How many prompts of each set have each form."""
        return {name: dict(sorted(Counter(p.form for p in prompts).items())) for name, prompts in self.parts().items()}


_Sources = Sequence[SourceSpec | str]


def make_splits(
    harmful: _Sources = ("advbench", "harmbench_validation"),
    lookalike: _Sources = ("lookalikes",),
    ordinary: _Sources = ("ordinary",),
    *,
    tests: _Sources = TESTS,
    seed: int = 0,
    validation_share: float = 0.12,
    limits: Mapping[str, int] | None = None,
    forms: bool = True,
    original_share: float = 0.5,
    topics: Sequence[str] = (),
    places: Mapping[str, PlaceSpec] | None = None,
    asked: Sequence[Prompt] = (),
) -> Splits:
    """Load the sources, drop what is repeated, about minors or near a test set, and hold a part out for validation.

    Args:
        tests: sets that an evaluation will use.
        seed: of the split, of what the limits choose, and of the wording.
        validation_share: of each kind, 0 to 1, met on average. Training prompts near a held-out one are dropped.
        limits: training prompts at most, by kind (``{"harmful": 200}``). Validation is not limited.
        forms: reword harmful prompts so that every form is as frequent (:func:`~textunlearn.data.forms.in_forms`).
        topics: names of `data.safe_answers.topics` that harmful training prompts are kept of; empty: all. What is validated
            with is not cut, so that it also shows what other topics gain.
        places: where named sources lie, as for `load_counted`.
        asked: further prompts that an evaluation will use.

    Raises:
        UserError: a source that is a test set, of another kind than asked for, with pictures, or too small to leave both parts.
    """
    tested = [*(prompt for spec in tests for prompt in load_counted(spec, places).prompts), *asked]
    cut: dict[str, int] = {}
    made: dict[str, tuple[Prompt, ...]] = {}
    for kind, specs in zip(KINDS, (harmful, lookalike, ordinary), strict=True):
        prompts = _gather(kind, specs, cut, places)
        repeats = unique(prompts)
        apart = without_overlap(repeats.prompts, tested)
        train, validation = split(apart.prompts, validation_share, seed)
        if kind == "harmful" and topics:
            of_topics = _of_topics(train, topics)
            cut["harmful: of other topics"] = len(train) - len(of_topics)
            train = of_topics
        alone = without_overlap(train, validation)
        limit = (limits or {}).get(kind)
        train = by_hash(alone.prompts, seed)[:limit]
        cut |= {
            f"{kind}: repeated": cut.get(f"{kind}: repeated", 0) + repeats.cut,
            f"{kind}: near a test set": apart.cut,
            f"{kind}: near validation": alone.cut,
            f"{kind}: over the limit": len(alone.prompts) - len(train),
        }
        if not train or not validation:
            names = ", ".join(as_spec(spec).title for spec in specs) or "no source at all"
            raise UserError(
                f"{names} gives {len(train)} {kind} prompts to train on and {len(validation)} to validate with; "
                "both must be at least 1, so add prompts or change validation_share"
            )
        validation = by_hash(validation, seed)
        if kind == "harmful" and forms:
            # one generator a part: how many prompts the other part has must not change this one's wording
            own_words = sample(train, round(OWN_WORDS * len(train)), seed)
            worded = in_forms(train, random.Random(digest("train", seed)), original_share)
            train = unique([*worded, *own_words]).prompts
            validation = in_forms(validation, random.Random(digest("validation", seed)), original_share)
            # other words may have brought a prompt near one of the other sets
            apart_again = without_overlap(train, tested)
            validation_apart = without_overlap(validation, tested)
            alone_again = without_overlap(apart_again.prompts, validation_apart.prompts)
            train, validation = alone_again.prompts, validation_apart.prompts
            cut["harmful: near a test set"] += apart_again.cut + validation_apart.cut
            cut["harmful: near validation"] += alone_again.cut
        made[f"{kind}_train"], made[f"{kind}_validation"] = tuple(train), tuple(validation)
    return Splits(**made, cut=cut)


def _of_topics(prompts: Sequence[Prompt], names: Sequence[str]) -> list[Prompt]:
    return [prompt for prompt in prompts if topic_of(prompt.text).name in names]


def _gather(kind: Kind, specs: _Sources, cut: dict[str, int], places: Mapping[str, PlaceSpec] | None) -> list[Prompt]:
    out: list[Prompt] = []
    reasons: Counter[str] = Counter({MINORS: 0})
    for spec in map(as_spec, specs):
        if not spec.trainable:
            raise UserError(f"{spec.title} is a test set and must not be trained on; choose another source for {kind}")
        loaded = load_counted(spec, places)
        other = next((p.kind for p in loaded.prompts if p.kind != kind), None)
        if other is not None:
            raise UserError(f"{spec.title} holds {other} prompts, but {kind} ones are wanted there")
        if any(p.image for p in loaded.prompts):
            raise UserError(f"{spec.title} comes with pictures, and training is on text alone; leave image_column out")
        out += loaded.prompts
        reasons.update(loaded.reasons)
    cut |= {f"{kind}: {reason}": n for reason, n in reasons.items()}
    return out
