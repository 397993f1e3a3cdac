"""Recipes: read, checked before any work starts, and wrong ones refused in one sentence that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textunlearn import recipes
from textunlearn.errors import UserError
from textunlearn.recipe import Recipe

SHIPPED = [recipes.find(name) for name in recipes.names()]


def refused(data: Any) -> str:
    with pytest.raises(UserError) as error:
        Recipe.parse(data, "my.yaml")
    text = str(error.value)
    assert "\n" not in text and len(text) < 700
    return text


def test_an_empty_recipe_is_the_default() -> None:
    recipe = Recipe.parse({}, "my.yaml")
    assert recipe == Recipe() and recipe.model.id == "builtin" and recipe.slots.share > 0


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.from_regex(r"\A[^/\\\x00-\x1f]{0,9}[a-zé0-9_][^/\\\x00-\x1f]{0,9}\Z"),
            "seed": st.integers(0, 2**31 - 1),
            "model": st.fixed_dictionaries(
                {}, optional={"id": st.text(min_size=1), "dtype": st.sampled_from(["auto", "float32"])}
            ),
            "slots": st.fixed_dictionaries({}, optional={"share": st.floats(0, 1), "noise": st.floats(0, 3)}),
            "training": st.fixed_dictionaries({}, optional={"lr": st.floats(1e-9, 1), "steps": st.integers(1, 999)}),
            "data": st.fixed_dictionaries(
                {},
                optional={
                    "harmful": st.just(["advbench", {"file": "mine.csv", "column": "ask"}]),
                    "answer_tokens": st.integers(4, 99),
                },
            ),
            "method": st.just({"name": "textual_unlearning", "settings": {"ceiling": None, "first_kl": [3, 2]}}),
        },
    )
)
@example({"model": {"id": "\x85"}})
def test_the_resolved_recipe_is_the_same_recipe(data: dict[str, Any]) -> None:
    recipe = Recipe.parse(data, "my.yaml")
    assert Recipe.parse(yaml.safe_load(recipe.to_yaml()), "resolved.yaml") == recipe


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"trainig": {}}, ["trainig", "training"]),
        ({"training": {"stps": 3}}, ["training.stps", "steps", "lora_rank"]),
        ({"slots": {"shared": 0.5}}, ["slots.shared", "misread"]),
        ({"training": {"steps": 0}}, ["training.steps", "got 0"]),
        ({"training": {"lr": "fast"}}, ["training.lr", "fast"]),
        ({"training": {"lr": float("nan")}}, ["training.lr"]),
        ({"model": {"dtype": "int8"}}, ["model.dtype", "bfloat16"]),
        ({"slots": {"share": 1.5}}, ["slots.share", "1.5"]),
        ({"seed": -1}, ["seed"]),
        ({"name": ".."}, ["name", ".."]),
        ({"name": "a/b"}, ["name", "a/b"]),
        ({"name": "a\0b"}, ["name"]),
        ({"model": 3}, ["model"]),
        ({"data": {"harmful": []}}, ["data.harmful"]),
        ({"data": {"harmful": ["nothing_like_it"]}}, ["nothing_like_it", "textunlearn datasets"]),
        ({"data": {"harmful": ["harmbench"]}}, ["data.harmful.0", "harmbench", "test set"]),
        ({"method": {"name": "nothing"}}, ["nothing", "textual_unlearning_published"]),
        ({"method": {"settings": {"harrm": 1}}}, ["method.settings.harrm", "ceiling"]),
        ({"evaluation": {"judge": "nobody"}}, ["nobody", "rules"]),
        ({"evaluation": {"suites": ["nothing"]}}, ["evaluation.suites", "nothing", "harmbench"]),
        ({"evaluation": {"batch_size": "big"}}, ["evaluation.batch_size", "big"]),
    ],
)
def test_mistakes_name_the_key_and_the_choices(data: dict[str, Any], said: list[str]) -> None:
    text = refused(data)
    assert all(part in text for part in said), text


@pytest.mark.parametrize("data", [None, [], "steps: 3", 7])
def test_what_is_not_a_recipe(data: Any) -> None:
    assert "my.yaml" in refused(data)


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"lookalike_rows": 0, "ordinary_rows": 0}, "lookalike_rows"),
        ({"harmful_rows": 1, "lookalike_rows": 1, "ordinary_rows": 1, "accumulate": 4}, "accumulate"),
    ],
)
def test_combinations_that_cannot_work(training: dict[str, int], said: str) -> None:
    text = refused({"training": training})
    assert said in text and text.startswith("my.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    for content, said in (
        (b"a: [", "not valid YAML"),
        (b"\xff\xfe\x00", "r.yaml"),
        (b"", "r.yaml"),
        (b"a: 1\nb", "r.yaml"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=said) as error:
            Recipe.read(path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="there is no recipe"):
        Recipe.read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        Recipe.read(tmp_path)


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\n", encoding="utf-8-sig")
    assert Recipe.read(path).name == "x"


@pytest.mark.parametrize("path", SHIPPED, ids=[p.stem for p in SHIPPED])
def test_shipped_recipes_are_sound(path: Path) -> None:
    assert Recipe.read(path).name
