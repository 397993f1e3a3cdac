"""Seeds that were run on several machines, as one comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textunlearn.comparison import NAME
from textunlearn.errors import UserError
from textunlearn.files import read_json

SAME = ("name", "model", "judge", "quick", "recipe", "changes")
"""What the parts must agree on; the rest of "run" is listed where it differs."""


def read_parts(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Each comparison.json, or that of a comparison's folder. UserError where one is none."""
    parts = []
    for path in paths:
        file = path / NAME if path.is_dir() else path
        data = read_json(file)
        if not isinstance(data, dict) or not {"run", "entries", "original", "results"} <= set(data):
            raise UserError(f"{file} is no comparison.json; name a comparison's folder or the file in it")
        parts.append(data)
    return parts


def join(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One comparison of the results of all ``parts`` (at least one), each in the shape of comparison.json.

    UserError where they are not of the same comparison, or have the same entry and seed with other results.
    """
    first = parts[0]
    for part in parts[1:]:
        for key in SAME:
            if part["run"].get(key) != first["run"].get(key):
                raise UserError(
                    f"these comparisons differ in {key}, so their seeds cannot stand in one table; join those of one recipe and model"
                )
    results: dict[str, dict[str, Any]] = {}
    for part in parts:
        for entry, by_seed in part["results"].items():
            for seed, result in by_seed.items():
                if results.setdefault(entry, {}).setdefault(seed, result) != result:
                    raise UserError(
                        f"entry {entry} with seed {seed} has two results that differ; leave one of them out"
                    )
    entries = {entry["name"]: entry for part in reversed(parts) for entry in part["entries"]}
    missing = [
        one
        for part in parts
        for one in part.get("missing", ())
        if str(one["seed"]) not in results.get(one["entry"], {})
    ]
    about = {key: _listed([part["run"].get(key) for part in parts]) for key in first["run"]}
    seeds = sorted({int(seed) for by_seed in results.values() for seed in by_seed})
    order = [entry["name"] for part in parts for entry in part["entries"]]
    return {
        **first,
        "run": {**about, "seeds": seeds, "row_tokens": first["run"].get("row_tokens", {})},
        "entries": [entries[name] for name in dict.fromkeys(order)],
        "results": {
            name: dict(sorted(results[name].items(), key=lambda one: int(one[0])))
            for name in dict.fromkeys(order)
            if name in results
        },
        "missing": missing,
    }


def _listed(values: Sequence[Any]) -> Any:
    """The value that all have, or every one there is: texts in a row, the rest as a list."""
    distinct = [value for number, value in enumerate(values) if value not in values[:number]]
    if len(distinct) == 1:
        return distinct[0]
    return ", ".join(distinct) if all(isinstance(value, str) for value in distinct) else distinct
