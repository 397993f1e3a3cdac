"""A comparison recipe: what its entries share, and what each entry changes. Read from YAML, every run checked before any work starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from textunlearn import recipes
from textunlearn.errors import UserError
from textunlearn.files import read_yaml
from textunlearn.recipe import Part, Recipe
from textunlearn.settings import sentence

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Entry(Part):
    """One row of the comparison: a run a seed."""

    title: str = Field(min_length=1)
    family: Literal["text", "slots", "pictures"] = Field(
        "text",
        description="what is trained on: typed text, text in the image slots too, or pictures too",
    )
    group: str = Field("method", description="'method', 'beyond' (the paper), or the curve the entry is a point of")
    x: float | None = Field(None, description="place on that curve")
    changes: dict[str, Any] = Field({}, alias="set", description="recipe values of this entry alone")


class Quick(Part):
    """The short form."""

    changes: dict[str, Any] = Field({}, alias="set", description="recipe values in place of the base's")
    entries: list[str] = Field([], description="these alone; all if empty")


class Comparison(Part):
    """Several runs on the same model, data budget and test cases."""

    name: Name = Field(description="of the folder and the report")
    title: str = Field(min_length=1)
    about: str = ""
    base: dict[str, Any] = Field(
        {}, description="recipe values shared by all entries; the rest is as in quickstart.yaml"
    )
    quick: Quick = Quick()
    entries: dict[Name, Entry] = Field(min_length=1)

    @classmethod
    def parse(cls, data: Any, where: str) -> Comparison:
        """Checked comparison; UserError naming the first bad key (``where``: the file, for the message)."""
        if isinstance(data, dict) and "entries" not in data:
            raise UserError(f"{where} describes one run, not a comparison (it has no entries); use `textunlearn run`")
        if not isinstance(data, dict):
            raise UserError(f"{where} does not hold a comparison: expected keys such as name, title, base, entries")
        try:
            comparison = cls.model_validate(data)
        except ValidationError as error:
            raise UserError(f"{where}: {sentence(error, cls)}") from None
        comparison._known(comparison.quick.entries, f"{where}: quick.entries")
        return comparison

    @classmethod
    def read(cls, path: Path) -> Comparison:
        return cls.parse(read_yaml(path, "recipe"), str(path))

    def chosen(self, quick: bool = False, only: Collection[str] = ()) -> dict[str, Entry]:
        """The entries to run: all, ``quick``'s, or ``only`` those. UserError for a name that is none."""
        self._known(only, "--only")
        names = only or (self.quick.entries if quick else ()) or self.entries
        return {name: entry for name, entry in self.entries.items() if name in names}

    def recipes(
        self,
        model: str | None = None,
        seed: int = 0,
        quick: bool = False,
        changes: Sequence[str] = (),
        only: Collection[str] = (),
    ) -> dict[str, Recipe]:
        """The run of each chosen entry. Later wins: defaults, base, quick, entry, ``changes``, ``model`` and ``seed``.

        Quick comes before the entry, so that an entry stays what it is about. Entries that come to the same run get one
        recipe, which has the first's name.

        Args:
            changes: ``key.path=value``, as `textunlearn.recipes.changed` takes them; for every entry.

        Raises:
            UserError: a run that its recipe refuses; entries that differ in model or evaluation.
        """
        out: dict[str, Recipe] = {}
        same: dict[str, Recipe] = {}
        wanted = self.chosen(quick, only)
        # all, whatever is asked for alone: the first of several equal entries must not depend on it
        for name, entry in (self.chosen(quick) | self.chosen(only=only) if only else wanted).items():
            where = f"{self.name}, entry {name}"
            data = merged(merged(self.base, self.quick.changes if quick else {}), entry.changes)
            recipe = recipes.changed(data, changes, where, model__id=model, seed=seed, name=self.name)
            key = recipe.model_dump_json()
            first = same.setdefault(key, recipe.model_copy(update={"name": name}))
            out[name] = first
            reference = next(iter(out.values()))
            for part in ("model", "evaluation"):
                if getattr(first, part) != getattr(reference, part):
                    raise UserError(
                        f"{where} changes {part}, but entries are compared on the same model and cases; "
                        "move the change into base, or leave it out"
                    )
        return {name: out[name] for name in wanted}

    def _known(self, names: Collection[str], where: str) -> None:
        for name in names:
            if name not in self.entries:
                raise UserError(f"{where}: there is no entry {name!r}; the entries are: {', '.join(self.entries)}")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``; groups of settings are merged, anything else is replaced."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out
