"""From run folders to one comparison.json: what each entry's model did, was worth and cost, by seed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from textunlearn.comparison.runs import ROWS, Run
from textunlearn.comparison.spec import Entry
from textunlearn.data.safe_answers import topic_of
from textunlearn.errors import UserError
from textunlearn.evaluation.metrics import read_metrics
from textunlearn.evaluation.statistics import Rate
from textunlearn.files import read_json, read_records
from textunlearn.job import AFTER, BEFORE
from textunlearn.methods import METHODS
from textunlearn.recipe import Recipe
from textunlearn.records import Case, Verdict

POINTS = 60
"""Points of a training curve at most."""
NOT_KEPT = ("model", "by_form", "by_category")
"""Of a suite's row; three quarters of the file, and each run's own metrics.json has them."""
LOGGED = ("harm_nll", "kl", "loss")
LOOKED = ("asr", "lookalike_refusal", "ordinary_refusal", "broken")


def collect(
    about: Mapping[str, Any],
    entries: Mapping[str, Entry],
    runs: Mapping[str, Mapping[int, Run]],
    why: Mapping[Path, str],
) -> dict[str, Any]:
    """Everything that a comparison of ``entries`` shows, as comparison.json holds it.

    Args:
        about: what is known of the comparison beforehand; becomes "run", with the model, judge and machine of the runs added.
        runs: entry -> seed -> its run, done or not; entries may share one.
        why: run folder -> why it is not done.

    Returns:
        "run", "entries", "original" (the model before), "results" (entry -> seed -> result), and "missing" (entry, seed, why).

    UserError where no run is done.
    """
    done = {name: {seed: run for seed, run in by_seed.items() if run.done} for name, by_seed in runs.items()}
    folders = list(dict.fromkeys(run.folder for by_seed in done.values() for run in by_seed.values()))
    if not folders:
        said = next(iter(why.values()), "none was begun")
        raise UserError(f"no run of the comparison {about['name']} is done yet, so there is nothing to report ({said})")
    metrics = {folder: read_metrics(folder) for folder in folders}
    begun = list({run.folder: run for by_seed in runs.values() for run in by_seed.values()}.values())
    costs = {run.folder: run.costs for run in begun}
    for run in begun:
        if run.done:
            _apart(metrics[run.folder]["cost"])
            metrics[run.folder]["cost"] |= _shared(run, begun, costs)
    # Who took the original's answers over has hardly any cost of its own for them.
    made = max(costs.values(), key=lambda cost: sum(cost[phase]["seconds"] for phase in _of(cost, BEFORE)))
    return {
        "run": {**about, **_made_with(folders[0], metrics[folders[0]]["run"]), "row_tokens": _row_tokens(folders)},
        "entries": [_entry(name, entry, runs[name]) for name, entry in entries.items()],
        "original": _measured({**metrics[folders[0]], "cost": made}, BEFORE)
        | {"guard": [], "steps": None, "best_step": None, "looks": [], "curve": []},
        "results": {
            name: {str(seed): _result(run, metrics[run.folder]) for seed, run in by_seed.items()}
            for name, by_seed in done.items()
            if by_seed
        },
        "missing": [
            {"entry": name, "seed": seed, "why": why.get(run.folder, "not run yet")}
            for name, by_seed in runs.items()
            for seed, run in by_seed.items()
            if not run.done
        ],
    }


def _of(cost: Mapping[str, Any], model: str) -> list[str]:
    """The phases that were about this model: what is measured of the original, and all the rest."""
    return [phase for phase in cost if phase.endswith(f" {BEFORE}") == (model == BEFORE)]


def _made_with(folder: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    environment = read_json(folder / "environment.json")
    return {key: run[key] for key in ("model", "judge", "titles")} | {
        key: environment[key] for key in ("versions", "machine", "dtype")
    }


def _row_tokens(folders: Sequence[Path]) -> dict[str, float]:
    """Mean lengths of training rows over the runs that have rows of that kind."""
    found: dict[str, list[float]] = {}
    for folder in folders:
        for key, value in read_json(folder / "trained.json").get("row_tokens", {}).items():
            found.setdefault(key, []).append(value)
    return {key: round(sum(values) / len(values), 1) for key, values in found.items()}


def _entry(name: str, entry: Entry, runs: Mapping[int, Run]) -> dict[str, Any]:
    recipe = next(iter(runs.values())).recipe
    row: dict[str, Any] = {"name": name, "title": entry.title, "family": entry.family, "method": recipe.method.name}
    return row | {"group": entry.group, "x": entry.x, "guard": recipe.training.guard, "bounded": _bounded(recipe)}


def _bounded(recipe: Recipe) -> bool:
    """Whether the loss stops pulling at some point; only ascent without a ceiling does not."""
    method = METHODS.get(recipe.method.name)(**recipe.method.settings)
    return getattr(method, "ceiling", 0.0) is not None


def _apart(cost: dict[str, Any]) -> None:
    """Training's seconds without those of the image features and the original's states, which stand apart."""
    own = sum(cost.get(phase, {}).get("seconds", 0.0) for phase in ("vision", "reference"))
    if "train" in cost:
        cost["train"] = {**cost["train"], "seconds": round(max(0.0, cost["train"]["seconds"] - own), 1)}


def _shared(run: Run, runs: Sequence[Run], costs: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """What ``run`` needed and may have taken over, at the cost of the one of ``runs`` that made it: the sampled answers; image
    features and the original's states at the same rows."""
    out = {}
    for phase, parts in (("sample", ("data",)), *((phase, ROWS) for phase in ("vision", "reference"))):
        same = [
            costs[other.folder][phase]
            for other in runs
            if phase in costs[other.folder]
            and other.recipe.training.steps == run.recipe.training.steps
            and all(getattr(other.recipe, part) == getattr(run.recipe, part) for part in parts)
        ]
        if same:
            out[phase] = max(same, key=lambda cost: cost["seconds"])
    return out


def _result(run: Run, metrics: Mapping[str, Any]) -> dict[str, Any]:
    folder = run.folder
    trained, log = read_json(folder / "trained.json"), _log(folder / "training.jsonl")
    result = _measured(metrics, AFTER) | {
        "guard": trained["guard"],
        "steps": trained["steps"],
        "best_step": trained["best_step"],
        "looks": [
            {"step": row["step"], **{key: row["validation"][key] for key in LOOKED}}
            for row in log
            if "validation" in row
        ],
        "curve": _thinned(
            [{"step": r["step"], **{key: r.get(key) for key in LOGGED}} for r in log if "loss" in r],
            run.recipe.training.steps,
        ),
    }
    if topics := run.recipe.data.topics:
        result["coverage"] = _coverage(folder, metrics["run"]["judge"], topics)
    return result


def _measured(metrics: Mapping[str, Any], model: str) -> dict[str, Any]:
    """What holds of the original model as well as of a result."""
    rows = [row for row in metrics["suites"] if row["model"] == model]
    asked = [row for row in metrics.get("benchmarks", []) if row["model"] == model]
    return ({"benchmarks": asked} if asked else {}) | {
        "suites": [{key: value for key, value in row.items() if key not in NOT_KEPT} for row in rows],
        "utility": metrics["utility"].get(model, {}),
        "further": metrics.get("further", {}).get(model, {}),
        "cost": {phase: metrics["cost"][phase] for phase in _of(metrics["cost"], model)},
    }


def _log(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON lines: {error}; remove its run folder to make the run anew") from None


def _thinned(rows: Sequence[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """About `POINTS` of ``rows`` at the same steps in every run of ``steps`` steps, and the last one."""
    stride = max(1, round(steps / POINTS))
    return [row for row in rows if row["step"] % stride == 0 or row is rows[-1] or row is rows[0]]


def _coverage(folder: Path, judge: str, topics: Collection[str]) -> dict[str, Any]:
    """Attack success rate on typed, plain harmful cases: those of the ``topics`` that were trained on, and all others."""
    unsafe = {v.case: v.label == "unsafe" for v in read_records(folder / f"verdicts/{AFTER}.{judge}.jsonl", Verdict)}
    groups: dict[str, list[bool]] = {"inside": [], "outside": []}
    for case in read_records(folder / "cases.jsonl", Case):
        if case.prompt.kind == "harmful" and case.attack == "direct":
            groups["inside" if topic_of(case.prompt.request).name in topics else "outside"].append(unsafe[case.id])
    return {name: Rate(sum(found), len(found)).to_json() for name, found in groups.items()}
