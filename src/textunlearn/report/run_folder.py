"""Read a run folder. What is absent is named in ``RunFolder.missing``; what is there but unreadable is a UserError."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textunlearn.errors import UserError
from textunlearn.files import read_json, read_records
from textunlearn.records import Answer, Case, Verdict


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Optional parts are empty when absent, and then ``missing`` has a sentence on each."""

    path: Path
    metrics: dict[str, Any]
    recipe: str
    environment: dict[str, Any]
    cases: tuple[Case, ...]
    models: tuple[str, ...]
    """In the order of the metrics: the untouched model first, the result last."""
    judge: str
    """Whose verdicts are shown; "" if none."""
    answers: dict[str, dict[str, Answer]]
    """model -> case id -> answer."""
    verdicts: dict[str, dict[str, Verdict]]
    """model -> case id -> verdict of ``judge``."""
    opinions: dict[str, dict[str, dict[str, Verdict]]]
    """model -> another judge that left verdicts -> case id -> its verdict."""
    training: tuple[dict[str, Any], ...]
    """Rows of ``training.jsonl`` in file order: logged steps, and validations (with a key "validation")."""
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One curve. ``steps`` and ``values`` have the same length; values that are not finite are left out."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


def section(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    """``data[key]`` if it is a mapping, {} if absent; UserError for anything else."""
    value = data.get(key)
    if value is not None and not isinstance(value, dict):
        raise UserError(f"metrics.json: {key!r} is not a mapping; write it again with `textunlearn evaluate`")
    return value or {}


def model_names(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Models in the order of ``metrics["models"]``, or else of their first suite."""
    listed = metrics.get("models") or [row.get("model") for row in metrics.get("suites") or ()]
    return tuple(dict.fromkeys(str(name) for name in listed if name is not None))


def _optional_json(path: Path, missing: list[str], consequence: str) -> dict[str, Any]:
    if not path.exists():
        missing.append(f"{path.name} is not in the run folder: {consequence}.")
        return {}
    found: dict[str, Any] = read_json(path)
    return found


def _training(path: Path, missing: list[str]) -> tuple[dict[str, Any], ...]:
    if not path.exists():
        missing.append("training.jsonl is not in the run folder: there are no training curves.")
        return ()
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path} line {number} is not JSON: {error}; delete that line") from None
            if not isinstance(row, dict):
                raise UserError(f"{path} line {number} is not a JSON object; delete that line")
            rows.append(row)
    return tuple(rows)


def _judges(folder: Path, model: str) -> list[str]:
    """Who left verdicts on ``model``."""
    found = sorted(p.name for p in folder.glob("*.jsonl") if p.name.startswith(f"{model}."))
    return [name.removeprefix(f"{model}.").removesuffix(".jsonl") for name in found]


def _judge_of(folder: Path, model: str, named: str) -> str:
    """The judge ``named`` by the metrics if it left verdicts on ``model``, or else the first that did."""
    judges = _judges(folder, model)
    return named if named in judges or not judges else judges[0]


def read_run(path: Path) -> RunFolder:
    """All that a report needs from the folder ``path``; UserError if it is no folder or a file in it is malformed."""
    if not path.is_dir():
        raise UserError(f"{path} is not a run folder; name the folder that `textunlearn run` wrote")
    missing: list[str] = []
    metrics = _optional_json(path / "metrics.json", missing, "no rates can be shown")
    environment = _optional_json(path / "environment.json", missing, "versions, machine and hashes are unknown")
    recipe_file = path / "recipe.yaml"
    if not recipe_file.exists():
        missing.append("recipe.yaml is not in the run folder: how the run was set up is unknown.")
    recipe = recipe_file.read_text(encoding="utf-8") if recipe_file.exists() else ""
    cases = tuple(read_records(path / "cases.jsonl", Case))
    if not cases:
        missing.append("cases.jsonl is absent or empty: no cases can be shown.")

    models = model_names(metrics) or tuple(sorted(p.stem for p in (path / "answers").glob("*.jsonl")))
    judge = str(section(metrics, "run").get("judge") or "")
    answers: dict[str, dict[str, Answer]] = {}
    verdicts: dict[str, dict[str, Verdict]] = {}
    opinions: dict[str, dict[str, dict[str, Verdict]]] = {}
    for model in models:
        answers[model] = {a.case: a for a in read_records(path / "answers" / f"{model}.jsonl", Answer)}
        judge = _judge_of(path / "verdicts", model, judge)
        by_judge = {
            name: {v.case: v for v in read_records(path / "verdicts" / f"{model}.{name}.jsonl", Verdict)}
            for name in dict.fromkeys((judge, *_judges(path / "verdicts", model)))
        }
        verdicts[model] = by_judge.pop(judge)
        opinions[model] = by_judge
        if not answers[model]:
            missing.append(f"The answers of the model “{model}” are not in the run folder.")
        elif not verdicts[model]:
            missing.append(f"There are no verdicts of the judge “{judge}” on the model “{model}”.")
    training = _training(path / "training.jsonl", missing)
    return RunFolder(
        path, metrics, recipe, environment, cases, models, judge, answers, verdicts, opinions, training, tuple(missing)
    )


def as_number(value: Any) -> float | None:
    """A finite number, or the "rate" of a rate mapping; None for anything else."""
    if isinstance(value, Mapping):
        value = value.get("rate")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def series(rows: Iterable[Mapping[str, Any]], name: str, *keys: str) -> Series:
    """The curve of ``row[keys[0]][keys[1]]…`` over ``row["step"]``; rows without it are left out."""
    points = []
    for row in rows:
        value: Any = row
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        number, step = as_number(value), as_number(row.get("step"))
        if number is not None and step is not None:
            points.append((int(step), number))
    return Series(name, tuple(step for step, _ in points), tuple(value for _, value in points))


def form_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Forms that any validation row breaks its rates down by, in order of first occurrence."""
    found: dict[str, None] = {}
    for row in rows:
        validation = row.get("validation")
        by_form = validation.get("by_form") if isinstance(validation, Mapping) else None
        found.update(dict.fromkeys(by_form or ()))
    return list(found)
