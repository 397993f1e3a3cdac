"""The recipes that ship, and changes to them from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from textunlearn import recipes
from textunlearn.errors import UserError
from textunlearn.recipe import Recipe


@pytest.mark.parametrize("name", recipes.names())
def test_shipped_recipe_is_valid_and_says_what_it_is_for(name: str) -> None:
    recipe = Recipe.read(recipes.find(name))
    assert recipe.name == name
    assert len(recipes.about(name)) > 20 and recipes.about(name).endswith(".")


def _keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    out = set()
    for name, part in model.model_fields.items():
        inner = part.annotation
        nested = isinstance(inner, type) and issubclass(inner, BaseModel)
        out |= _keys(inner, f"{prefix}{name}.") if nested else {prefix + name}  # type: ignore[arg-type]
    return out


def _named(data: dict[str, Any], schema: set[str], prefix: str = "") -> set[str]:
    out = set()
    for key, value in data.items():
        path = prefix + key
        out |= {path} if path in schema else _named(value, schema, path + ".")
    return out


def test_quickstart_names_every_setting_with_its_default() -> None:
    """It is the one place where the settings are explained: it must not fall behind the code."""
    text = recipes.find("quickstart").read_text(encoding="utf-8")
    schema = _keys(Recipe)
    assert _named(yaml.safe_load(text), schema) == schema
    assert Recipe.read(recipes.find("quickstart")) == Recipe(name="quickstart")


def test_plain_recipe_differs_in_the_slots_alone() -> None:
    plain, default = recipes.read("plain").model_dump(), recipes.read(None).model_dump()
    assert plain.pop("slots") | {"share": 0.5} == default.pop("slots")
    assert plain | {"name": ""} == default | {"name": ""}


def test_changes_reach_the_recipe() -> None:
    changes = ["training.lr=1e-4", "data.harmful=[{file: mine.csv}]", "method.settings.harm=0.25"]
    changed = recipes.read("plain", changes, model__id="my/model")
    assert changed.training.lr == 1e-4
    assert changed.data.harmful[0].file == Path("mine.csv") and changed.data.harmful[0].kind == "harmful"
    assert changed.method.settings == {"harm": 0.25}
    assert changed.model.id == "my/model" and changed.slots.share == 0


def test_changes_survive_the_way_through_a_run_folder(tmp_path: Path) -> None:
    changed = recipes.read("own-data", ["training.steps=7"])
    (tmp_path / "recipe.yaml").write_text(changed.to_yaml(), encoding="utf-8")
    assert Recipe.read(tmp_path / "recipe.yaml") == changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("slots", "not of the form key.path=value"),
        ("=3", "not of the form key.path=value"),
        ("slots.share=[", "not a YAML value"),
        ("slots.share.more=1", "share is a value"),
        ("slots.shape=1", "no key 'slots.shape'; known here: share"),
        ("slots.share=2", "slots.share"),
        ("training.steps=many", "training.steps"),
        ("method.name=wish", "no method called 'wish'; choose one of"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(change: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        recipes.read("quickstart", [change])


def test_a_file_comes_before_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").write_text("name: of-my-own", encoding="utf-8")
    assert recipes.read("plain").name == "of-my-own"
    with pytest.raises(UserError, match=r"no recipe nowhere\.yaml; .*quickstart"):
        recipes.read("nowhere.yaml")
