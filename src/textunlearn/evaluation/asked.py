"""What `textunlearn evaluate` and `sample-size` are asked on the command line, as checked settings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from textunlearn.errors import UserError
from textunlearn.evaluation.single import SingleSpec, name_of
from textunlearn.evaluation.suites import SETS
from textunlearn.judges import DEFAULT

BROAD = "broad"
"""The set of suites that grows with the data that is there."""


def spec(
    target: str,
    *,
    adapter: str | None = None,
    suites: Sequence[str] = (),
    utility: Sequence[str] = (),
    limit: int | None = None,
    judge: str = DEFAULT,
    data: Sequence[str] = (),
    served: str | None = None,
    key_env: str | None = None,
    changes: Sequence[str] = (),
) -> SingleSpec:
    """The evaluation of ``target``: a hub id, a folder, or an endpoint's address.

    Args:
        suites: names of suites and sets, and ``SOURCE@ATTACK``; none: the default set. ``broad`` takes in every set that ``data`` names.
        utility: sets of questions, each ``NAME``, ``NAME=LIMIT`` or ``NAME:FORM=LIMIT``.
        data: ``SOURCE=PLACE``.
        changes: ``key.path=value`` of `SingleSpec`, e.g. ``evaluation.max_new_tokens=64``; they win.

    UserError for what does not fit together.
    """
    from textunlearn.recipes import put

    remote = target.startswith(("http://", "https://"))
    if remote and not served:
        raise UserError(f"{target} is an endpoint; say by --served what it calls the model")
    if not remote and (served or key_env):
        raise UserError(f"--served and --key-env belong to an endpoint, and {target} is none (http://… or https://…)")
    if remote and adapter:
        raise UserError("an endpoint serves what it was started with; leave --adapter out, or name the model's folder")
    if not remote and not Path(target).is_dir() and (target.startswith((".", "/", "~", "\\")) or target.count("/") > 1):
        raise UserError(
            f"there is no folder {target}; name a run, a model's folder, a hub id (owner/name), 'builtin', or an endpoint (http://…)"
        )
    places = dict(place(one) for one in data)
    out: dict[str, Any] = {
        "name": "evaluate-" + name_of((served or "") if remote else adapter or target),
        "places": places,
        "evaluation": {"suites": _suites(suites, places), "utility": list(utility), "limit": limit, "judge": judge},
    }
    if remote:
        out["endpoint"] = {"base_url": target, "model": served, "key_env": key_env}
    else:
        out["model"] = {"id": target, "adapter": adapter}
    return SingleSpec.parse(put(out, changes), "the evaluation")


def _suites(asked: Sequence[str], places: Collection[str]) -> str | list[str]:
    if not asked:
        return "default"
    if list(asked) == ["none"]:
        return "none"
    named = [suite.name for one in asked if one in SETS for suite in SETS[one]]
    given = _of_places(places, {source for suite in SETS[BROAD] for source in suite.sources}) if BROAD in asked else []
    return list(dict.fromkeys([*named, *(one for one in asked if one not in SETS), *given]))


def _of_places(places: Collection[str], known: Collection[str]) -> list[str]:
    """``SOURCE@direct`` for each set of requests that ``places`` names but ``known``; where it names a family, for all of that."""
    from textunlearn.data.questions import QUESTION_SETS
    from textunlearn.data.sources import SOURCES, Source

    # Questions with known answers are no requests: `utility` takes them.
    parts = {name: SOURCES.get(name) for name in SOURCES.names() if name not in QUESTION_SETS.names()}
    out = []
    for place in places:
        family = [name for name, part in parts.items() if isinstance(part, Source) and part.folder_name == place]
        out += [f"{name}@direct" for name in ([place] if place in parts else family) if name not in known]
    return out


def place(given: str) -> tuple[str, str]:
    """``SOURCE=PLACE`` as the two. UserError for anything else."""
    source, equals, place = given.partition("=")
    if not equals or not source.strip() or not place.strip():
        raise UserError(f"--data {given} is not of the form SOURCE=PLACE, e.g. --data xstest=xstest_prompts.csv")
    return source.strip(), place.strip()


def share(text: str) -> float:
    """``5%``, ``5 %`` or ``0.05`` as 0.05. UserError for anything else."""
    plain = text.strip()
    try:
        value = float(plain.removesuffix("%")) / (100 if plain.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"{text!r} is not a rate: give one such as 5% or 0.05")
    return value
