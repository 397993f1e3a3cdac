"""The recipes for particular models, as far as a tiny random model of the same architecture can show: they load, their commands resolve,
and two steps train."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

import job_run
from textunlearn import recipes
from textunlearn.data.sources import SOURCES, source_info
from textunlearn.errors import UserError
from textunlearn.recipe import Recipe
from textunlearn.records import KINDS, Prompt
from textunlearn.training.plan import Plan
from textunlearn.training.unlearn import unlearn
from tiny_families import marked, opened

MODELS = {
    "llava-1.5-7b": "llava",
    "llava-next-mistral-7b": "llava_next",
    "qwen2.5-vl-3b": "qwen2_5_vl",
    "qwen2.5-vl-7b": "qwen2_5_vl",
    "smolvlm2-2.2b": "smolvlm",
    "gemma-3-4b": "gemma3",
}
"""Recipe -> the family of `tiny_families` that its model belongs to."""
HELPS = "First take the ladder, then carry it through the door."


def commands(name: str) -> list[list[str]]:
    """The commands that the recipe's comment gives: one GPU of 24 GB, one of 80 GB, eight."""
    text = recipes.find(name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith(f"# textunlearn run {name}")]
    return [shlex.split(re.split(r" {3,}", line)[0][2:]) for line in lines]


def resolved(name: str, command: list[str]) -> tuple[Recipe, int]:
    """The recipe that a command trains by, and in how many processes."""
    pairs = list(pairwise(command))
    changes = [value for flag, value in pairs if flag == "--set"]
    processes = [int(value) for flag, value in pairs if flag == "--processes"]
    return recipes.read(name, changes), *(processes or [1])  # type: ignore[return-value]


@pytest.mark.parametrize("name", MODELS)
def test_what_a_recipe_says(name: str) -> None:
    text = recipes.find(name).read_text(encoding="utf-8")
    found = [resolved(name, command) for command in commands(name)]
    assert [processes for _, processes in found] == [1, 1, 8]
    assert found[0][0] == recipes.read(name), "one GPU of 24 GB is the recipe as it is"
    for recipe, processes in found:
        spec = recipe.training
        assert spec.harmful_rows + spec.lookalike_rows + spec.ordinary_rows >= processes * spec.accumulate
    settings = [line for line in text.split("\nname: ")[1].splitlines()[1:] if re.match(r"\s+\w+: \S", line)]
    assert not [line for line in settings if "  # " not in line and "source:" not in line], "every value is explained"
    data = recipes.read(name).data
    for source in (spec.source for kind in KINDS for spec in getattr(data, kind)):
        assert source and source_info(source).licence and source_info(source).trainable


@pytest.mark.parametrize("name", MODELS)
def test_what_is_commented_out_can_be_put_in(name: str, tmp_path: Path) -> None:
    """More data sets, with their licences, are in the recipe for who wants them."""
    text = recipes.find(name).read_text(encoding="utf-8")
    (tmp_path / "more.yaml").write_text(re.sub(r"(?m)^    # (- |  )", r"    \1", text), encoding="utf-8")
    data = Recipe.read(tmp_path / "more.yaml").data
    assert data.harmful[-1].source == "pku_saferlhf" and "pku_saferlhf" in SOURCES.names()
    assert data.ordinary[-1].hub == "databricks/databricks-dolly-15k" and data.ordinary[-1].kind == "ordinary"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("number", [0, 2], ids=["24GB", "eight"])
def test_two_steps_on_a_tiny_model_of_its_kind(
    name: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    for mark in marked([MODELS[name]])[0].marks:
        request.applymarker(mark)
        pytest.skip(str(mark.kwargs["reason"]))
    for registry, part, stand_in in job_run.stand_ins():
        monkeypatch.setitem(registry, part, stand_in)
    vlm = opened(MODELS[name], tmp_path / "model")
    recipe, processes = resolved(name, commands(name)[number])
    # A step of eight processes is one of eight times as many micro-batches in one.
    spec = recipe.training.model_copy(
        update={"steps": 2, "validate_every": 2, "accumulate": recipe.training.accumulate * processes}
    )
    evaluation = recipe.evaluation.model_copy(update={"judge": "stand_in"})
    recipe = recipe.model_copy(update={"training": spec, "evaluation": evaluation})
    prompts = {
        kind: [
            Prompt(job_run.TEMPLATES[kind].format(thing=thing, place=place), kind, "test", "question")
            for thing, place in zip(job_run.THINGS[:10], job_run.PLACES, strict=False)
        ]
        for kind in KINDS
    }
    answers = {prompt.id: HELPS for some in prompts.values() for prompt in some}
    train, held_out = ({kind: some[part] for kind, some in prompts.items()} for part in (slice(0, 9), slice(9, 10)))
    vision = vlm.vision_hash()
    done = unlearn(vlm, recipe, tmp_path / "run", train, answers, held_out, job_run.quiet())
    assert done.steps == 2 and done.tokens > 0 and vlm.vision_hash() == vision
    lora = {name: p for name, p in vlm.model.named_parameters() if "lora_B" in name}
    assert lora and any(bool(p.any()) for p in lora.values())


def test_more_micro_batches_than_rows_are_refused() -> None:
    """What a user would see who takes one GPU's recipe to eight without the rest of the command."""
    with pytest.raises(UserError, match=r"training\.accumulate is 32, but a step has only 0 rows"):
        Plan({"harmful": []}, {"harmful": 3}, 1, 32)
