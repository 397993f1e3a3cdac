"""What of a folder must survive a strike, and what must be the same in the end however it came about."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textunlearn.files import PARTIAL
from textunlearn.training.trainer import last_checkpoint

Lines = list[bytes]


def stores(folder: Path) -> dict[str, Lines]:
    """The whole lines of every store: what is finished."""
    found = [
        p for p in sorted(folder.rglob("*.jsonl")) if p.name != "training.jsonl" and not p.name.startswith(PARTIAL)
    ]
    return {str(p.relative_to(folder)): p.read_bytes().split(b"\n")[:-1] for p in found}


def finished(folder: Path) -> dict[str, Any]:
    """What may not get lost any more: stored lines, files that stand in their places, checkpoints."""
    places = [p for p in folder.rglob("*") if p.is_file() and not _passing(p.relative_to(folder))]
    return {
        "stores": stores(folder),
        "files": {str(p.relative_to(folder)) for p in places},
        "checkpoints": {str(p.relative_to(folder)): last_checkpoint(p) for p in folder.rglob("checkpoints")},
    }


def _passing(path: Path) -> bool:
    """Files that come and go."""
    parts = path.parts
    return path.name == ".lock" or any(
        part.startswith(PARTIAL) or part in ("checkpoints", "adapter", "adapter.new", "adapter.old", "tensorboard")
        for part in parts
    )


def lost(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What was finished before and is gone or changed."""
    gone = [f"{name} is gone" for name in sorted(before["files"] - after["files"])]
    for name, lines in before["stores"].items():
        if after["stores"].get(name, [])[: len(lines)] != lines:
            gone.append(f"{name} lost lines")
    for name, step in before["checkpoints"].items():
        trained = str(Path(name).parent / "trained.json").removeprefix("./")
        if trained not in after["files"] and after["checkpoints"].get(name, 0) < step:
            gone.append(f"{name} went back from step {step}")
    return gone


def stored_rows(folder: Path, lengths: dict[str, int]) -> dict[int, int]:
    """Answers in the stores by the length that was asked for; ``lengths``: end of a store's path -> length."""
    out: dict[int, int] = {}
    for name, lines in stores(folder).items():
        for ending, tokens in lengths.items():
            if ending in name:
                out[tokens] = out.get(tokens, 0) + len(lines)
    return out


# -- what must be the same --------------------------------------------------------------------------------------------


def _without_clock(path: Path) -> Any:
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in entries]


def _part(*keys: str) -> Callable[[Path], Any]:
    return lambda path: {key: json.loads(path.read_text(encoding="utf-8"))[key] for key in keys}


def _without_cost(path: Path) -> Any:
    return {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k != "cost"}


def _whole_page(path: Path) -> Any:
    return path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def _whole_json(path: Path) -> Any:
    return sorted(json.loads(path.read_text(encoding="utf-8")))


COST = ("seconds", "flops", "memory", "energy", "tokens")
"""Parts of the names of columns with costs."""


def _table_without_cost(path: Path) -> Any:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if not any(word in k for word in COST)} for row in rows]


def _bytes(path: Path) -> Any:
    if path.suffix == ".jsonl":  # rows come in the order in which they were generated
        return sorted(path.read_bytes().split(b"\n"))
    return hashlib.sha256(path.read_bytes()).hexdigest()


LOOKED_AT: dict[str, Callable[[Path], Any]] = {
    "training.jsonl": _without_clock,
    "environment.json": _part("data", "cases_hash", "seed"),
    "metrics.json": _without_cost,
    "report.html": _whole_page,
    "comparison.html": _whole_page,
    "cost.json": lambda path: None,  # clocks; a sitting that was killed has none
    "before_training.json": _whole_json,
    "comparison.json": lambda path: sorted(json.loads(path.read_text(encoding="utf-8"))["results"]),
    "comparison.csv": _table_without_cost,
    "README.md": lambda path: path.stat().st_size > 0,  # a card has costs in it
}
"""How files are looked at in which something but the result stands; the others must be the same byte for byte."""


def result(folder: Path) -> dict[str, Any]:
    """All of a folder that must be the same however it came about; temporary files are part of it, for none may stay."""
    out: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.name == ".lock" or path.suffix == ".log" or "tensorboard" in path.parts:
            continue
        out[name] = LOOKED_AT.get(path.name, _bytes)(path)
    return out


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    missing = [f"{name} is missing in the end" for name in wanted.keys() - found.keys()]
    more = [f"{name} is left behind" for name in found.keys() - wanted.keys()]
    return sorted(missing + more) + sorted(
        f"{k} ends otherwise" for k in wanted.keys() & found.keys() if wanted[k] != found[k]
    )
