"""Every suite as an Inspect task, and one task for any set of prompts under any attack."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import GenerateConfig

from textunlearn import __version__
from textunlearn.data.places import PlaceSpec
from textunlearn.evaluation.suites import SUITES, Suite, build_cases, case_set_hash, chosen
from textunlearn.inspect_bridge.samples import samples_of
from textunlearn.inspect_bridge.scoring import verdict
from textunlearn.recipe import EvaluationSpec

MAX_TOKENS = int(EvaluationSpec.model_fields["max_new_tokens"].default)
"""Length of an answer, unless ``--max-tokens`` says otherwise: that of `textunlearn evaluate`."""


def task_of(suite: Suite, limit: int | None, judge: str, places: Mapping[str, PlaceSpec]) -> Task:
    """``suite`` over its sources, with at most ``limit`` cases. UserError where a source cannot be read or put that way."""
    from textunlearn.data.loading import load_counted

    if limit is not None:
        suite = suite.model_copy(update={"limit": min(suite.limit, limit)})
    prompts = [prompt for name in suite.sources for prompt in load_counted(name, places).prompts]
    with tempfile.TemporaryDirectory(prefix="textunlearn-inspect-") as folder:
        cases = build_cases(suite, prompts, Path(folder))
        dataset = MemoryDataset(samples_of(cases, Path(folder)), name=suite.name)
    return Task(
        dataset=dataset,
        scorer=verdict(judge),
        config=GenerateConfig(max_tokens=MAX_TOKENS, temperature=0),
        display_name=suite.title,
        metadata={
            "suite": suite.name,
            "source": suite.source,
            "attack": suite.attack,
            "cases_hash": case_set_hash(cases),
            "textunlearn": __version__,
        },
    )


def _places(given: str | list[str]) -> dict[str, PlaceSpec]:
    from textunlearn.evaluation.asked import place

    each = [given] if isinstance(given, str) else given
    return {source: Path(where) for source, where in map(place, filter(None, each))}


def _shipped(suite: Suite) -> Callable[..., Task]:
    def make(limit: int | None = None, judge: str = "rules", data: str | list[str] = "") -> Task:
        return task_of(suite, limit, judge, _places(data))

    make.__doc__ = f"""{suite.title}.

    Args:
        limit: cases, at most.
        judge: one of `textunlearn judges`.
        data: SOURCE=PLACE, where a data set lies; or a list of such.
    """
    return make


shipped = [task(name=suite.name)(_shipped(suite)) for suite in SUITES.values()]
"""The tasks ``textunlearn/SUITE``."""


@task
def cases(
    source: str, attack: str = "direct", limit: int | None = None, judge: str = "rules", data: str | list[str] = ""
) -> Task:
    """Any set of prompts under any attack, as ``--suite SOURCE@ATTACK`` of `textunlearn evaluate`.

    Args:
        source: one of `textunlearn datasets`, or several joined by "+".
        attack: one of `textunlearn attacks`, or several joined by "|".
        limit: cases, at most.
        judge: one of `textunlearn judges`.
        data: SOURCE=PLACE, where a data set lies; or a list of such.
    """
    spec = EvaluationSpec.model_validate({"suites": [f"{source}@{attack}"]})
    return task_of(chosen(spec.suites)[0], limit, judge, _places(data))
