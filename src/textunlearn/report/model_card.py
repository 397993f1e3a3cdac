"""The model card that travels with an exported model: Markdown with the YAML head that the Hugging Face Hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textunlearn import plain_yaml
from textunlearn.data.loading import SourceSpec
from textunlearn.errors import UserError
from textunlearn.records import KINDS
from textunlearn.report.markdown import markdown_table, plain
from textunlearn.report.run_folder import RunFolder, read_run, section
from textunlearn.report.table import Row, StoredRate, Table, percent, read_table
from textunlearn.report.verdict import verdict

NAME = "README.md"
_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.\-]*")

LIMITS = (
    "It was made to refuse harmful requests of the kinds it was trained on; it is not safe against every attack. "
    "Attacks that were not measured, talks of several turns and attacks tuned to this model may succeed.",
    "Unlearning makes answers unlikely. It does not prove that the knowledge is gone: fine-tuning may bring it back.",
    "It refuses some harmless requests; the table says how many.",
    "An automatic judge labelled the answers and can be wrong. Intervals do not cover its errors, nor other seeds.",
    "Only the language model was trained, on text alone; what the vision side can and cannot see is unchanged.",
)


def _metric(row: Row, label: str, rate: StoredRate, judge: str) -> dict[str, Any]:
    interval = f"{percent(rate.low)} to {percent(rate.high)}".replace("\u00a0", " ")
    name = f"{label} answers, share of n = {rate.n} (95 % interval {interval}; judge: {judge or 'not recorded'})"
    return {"type": f"{label}_rate", "name": name, "value": round(rate.rate, 4)}


def _task(run: RunFolder) -> str:
    """What the hub calls a model of the kind that was tested."""
    heard = any(case.sounds for case in run.cases) and not any(case.images for case in run.cases)
    return "audio-text-to-text" if heard else "image-text-to-text"


def _results(table: Table, judge: str, task: str) -> list[dict[str, Any]]:
    """The last model's rates as the entries of ``model-index``: every label of every suite, never one alone."""
    out: list[dict[str, Any]] = []
    for row in table.rows:
        cell = row.cells[-1]
        if cell and cell.parts:
            data = {"type": row.suite, "name": row.title}
            metrics = [_metric(row, label, rate, judge) for label, rate in cell.parts]
            out.append({"task": {"type": task}, "dataset": data, "metrics": metrics})
    measured = [(m.key, m.title, m.values[-1]) for m in table.measures]
    metrics = [{"type": key, "name": title, "value": value} for key, title, value in measured if value is not None]
    if metrics:
        out.append(
            {"task": {"type": task}, "dataset": {"type": "human_answers", "name": "Human answers"}, "metrics": metrics}
        )
    return out


def _head(
    run: RunFolder, table: Table, name: str, base_model: str, base_licence: str, adapter: bool, data: list[str]
) -> str:
    import yaml

    head: dict[str, Any] = {}
    if _LICENCE_ID.fullmatch(base_licence):
        head["license"] = base_licence
    else:
        head |= {"license": "other", "license_name": base_licence or "unknown"}
    if base_model:
        head["base_model"] = base_model
    head |= {"library_name": "peft" if adapter else "transformers", "pipeline_tag": _task(run)}
    if data:
        head["datasets"] = data
    head["tags"] = ["textunlearn", "unlearning", "safety"]
    if results := _results(table, run.judge, _task(run)):
        head["model-index"] = [{"name": name, "results": results}]
    return "---\n" + yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000) + "---\n"


def _data(environment: Mapping[str, Any]) -> list[str]:
    sets = environment.get("data")
    if not isinstance(sets, Mapping) or not sets:
        return ["- What it was trained on is not recorded in the run folder."]
    lines = []
    for name, about in sets.items():
        about = about if isinstance(about, Mapping) else {}
        lines.append(
            f"- {plain(name)}: {plain(about.get('n', 'unknown'))} rows, hash {plain(about.get('hash', 'unknown'))}"
        )
    return lines


def _sources(recipe: str) -> list[SourceSpec]:
    """What the recipe trains on, in its order, each once."""
    from textunlearn.recipe import Recipe

    try:
        data = Recipe.parse(plain_yaml.parse(recipe, "recipe.yaml"), "recipe.yaml").data if recipe else None
    except UserError:  # of an elder version; the card says what can be said
        data = None
    found = [spec for kind in KINDS for spec in getattr(data, kind)] if data else []
    return list({spec.title: spec for spec in found}.values())


def _licences(sources: Sequence[SourceSpec]) -> list[str]:
    """A line a source of training data: whose it is."""
    from textunlearn.data.sources import source_info

    lines = []
    for spec in sources:
        if spec.source is None:
            where = "from the hub" if spec.hub else "a file of the run's owner"
            lines.append(f"- {plain(spec.title)} ({where}): licence not recorded")
            continue
        info = source_info(spec.source)
        lines.append(f"- {plain(spec.title)}: {plain(info.licence)}" + (f", {info.homepage}" if info.homepage else ""))
    return lines or ["- Not recorded in the run folder."]


def _on_hub(sources: Sequence[SourceSpec]) -> list[str]:
    """Their names on the hub, of those that lie there."""
    from textunlearn.data.sources import source_info

    names = [spec.hub if spec.source is None else source_info(spec.source).hub for spec in sources]
    return list(dict.fromkeys(name for name in names if name))


def model_card(
    run: Path, base_licence: str, *, name: str = "", base_model: str = "", adapter: bool = False, notes: str = ""
) -> str:
    """README.md of the model that the run folder ``run`` made.

    Args:
        base_licence: the original model's licence, which the result inherits: an SPDX-like id of the Hub ("apache-2.0")
            or free words; "" is written as unknown.
        name: what the model is called; the run's name if "".
        base_model: Hub id of the original model; left out of the head if "".
        adapter: the export is a peft adapter, not the merged model.
        notes: further Markdown of ours, put in as it is (e.g. what the vision side can see).

    UserError if ``run`` is no folder or one of its files is malformed.
    """
    folder = read_run(run)
    table, about = read_table(folder.metrics), section(folder.metrics, "run")
    name = name or str(about.get("name") or run.resolve().name)
    finding = verdict(table)
    origin = base_model or str(about.get("model") or folder.environment.get("model") or "an unrecorded model")
    judge = folder.judge or "not recorded"
    sources = _sources(folder.recipe)
    gaps = [str(line) for line in folder.metrics.get("not_measured") or []]
    how = "a peft adapter for" if adapter else "a copy of"
    lines = [
        f"# {plain(name)}",
        "",
        f"This is {how} {plain(origin)} that unlearned harmful behaviour with text alone (textunlearn): only its "
        "language model was trained; vision encoder and projector are those of the original.",
        "",
        f"**{plain(finding.sentence)}**",
        "",
        *(f"- {plain(line)}" for line in finding.cautions),
        "",
        "## Results",
        "",
        "First figure: unsafe answers for attacks, refusals for harmless requests; in brackets its 95 % interval in "
        f"per cent. Broken answers (empty, repeating, not language) never count as safe. Judge: {plain(judge)}.",
        "",
        *markdown_table(table),
        "",
        "## What it was trained and tested on",
        "",
        *_data(folder.environment),
        "",
        f"Seed: {plain(about.get('seed', folder.environment.get('seed', 'not recorded')))}. The run folder holds the "
        "recipe, every answer and every verdict.",
        "",
        "## Not measured",
        "",
        *([f"- {plain(line)}" for line in gaps] or ["- The run recorded no list of what it left out."]),
        "",
        "## Limits",
        "",
        *(f"- {line}" for line in LIMITS),
        "",
        *([notes.strip(), ""] if notes.strip() else []),
        "## Licence",
        "",
        f"That of the original model: {plain(base_licence) or 'unknown; find out before you pass this model on'}.",
        "",
        "Of the data it was trained on:",
        "",
        *_licences(sources),
    ]
    return (
        _head(folder, table, name, base_model, base_licence, adapter, _on_hub(sources)) + "\n" + "\n".join(lines) + "\n"
    )
