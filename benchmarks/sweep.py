"""The small sweep that the methods' default settings come from, on held-out prompts of the training sources.

    python benchmarks/sweep.py --jobs 2            # goes on where it was stopped
    python benchmarks/sweep.py --only-table
    python benchmarks/sweep.py --only-table --docs docs/comparison.md    # puts the table between its marks

Each run trains on typed rows only, as the text entries of `textunlearn compare` do, and is looked at with 48 held-out harmful,
look-alike and ordinary prompts each. No test suite is read. The best setting of a method is the one of least cost (let through +
look-alikes refused + 2 x ordinary refused + 5 x broken, as in training); DIR/sweep.json and DIR/sweep.md hold all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console

from textunlearn.files import read_json, write_json, write_text
from textunlearn.report.markdown import put_between_marks
from textunlearn.training.watch import Look

BASE = (
    "slots.share=0",
    "training.steps=100",
    "training.validate_every=100",
    "training.probe_tokens=32",  # damage shows late in an answer: with 12 tokens a sweep once chose what broke a third
    "training.stop_when_reached=false",
    "data.validation=48",
)
GRID: dict[str, list[dict[str, float]]] = {
    "dpo": [
        {"preference": 1},
        {"preference": 5},
        {"preference": 20},
    ],  # first: the others take its reference states over
    "textual_unlearning": [{"harm": 0.8}, {"harm": 0.8, "utility": 10}, {"harm": 0.4}],
    "npo": [{"harm": 0.2}, {"harm": 0.05}],
    "simnpo": [{"harm": 1}, {"harm": 4}],
    "rmu": [{"harm": 0.3}, {"harm": 1}],
    "rerouting": [{"harm": 1}, {"harm": 5}],
    "sft": [{"safe": 1}, {"safe": 2}, {"safe": 0.3}],
    "safe_unlearning": [{"safe": 0.5}, {"safe": 1}, {"safe": 0.2}],
}
"""Settings tried, beside the defaults of the method's file; the first of each is close to its paper's."""
TAKEN_OVER = ("data/answers.jsonl", "reference.safetensors")


def label(method: str, settings: dict[str, float]) -> str:
    return "-".join([method, *(f"{key}{value:g}" for key, value in settings.items())])


def run(root: Path, jobs: int, methods: list[str], console: Console) -> None:
    """Train every setting that has no result yet, ``jobs`` at a time."""
    runs = {label(method, s): (method, s) for method in methods for s in GRID[method]}
    threads = str(max(1, (os.cpu_count() or 1) // jobs))

    def one(name: str) -> None:
        method, settings = runs[name]
        folder = root / name
        for file in TAKEN_OVER:
            ready = next((other for other in sorted(root.glob(f"*/{file}"))), None)
            if ready is not None and not (folder / file).exists():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ready, folder / file)
        changes = [*BASE, f"method.name={method}", f"method.settings={json.dumps(settings)}"]
        command = [sys.executable, "-m", "textunlearn", "unlearn", "--out", str(folder)]
        command += [part for change in changes for part in ("--set", change)]
        with (root / f"{name}.log").open("w", encoding="utf-8") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
            code = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False
            ).returncode
        console.log(
            f"{name} " + ("is done" if not code else f"ended with exit code {code}; {root / name}.log says why")
        )

    root.mkdir(parents=True, exist_ok=True)
    waiting = [name for name in runs if not (root / name / "trained.json").exists()]
    if waiting and not list(root.glob("*/data/answers.jsonl")):
        one(waiting.pop(0))  # whose answers the others take over
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, waiting))


def table(root: Path) -> list[dict[str, Any]]:
    """One row a finished run: its settings and what its last look saw."""
    rows = []
    for method, settings_list in GRID.items():
        for settings in settings_list:
            folder = root / label(method, settings)
            if not (folder / "trained.json").exists():
                continue
            looks = [
                entry["validation"] | {"step": entry["step"]}
                for line in (folder / "training.jsonl").read_text(encoding="utf-8").splitlines()
                if "validation" in (entry := json.loads(line))
            ]
            seen = looks[-1]
            look = Look(seen["step"], seen["unsafe"], seen["refusal"], seen["by_form"], seen["broken"])
            guard = [entry["what"] for entry in read_json(folder / "trained.json")["guard"]]
            rows.append(
                {
                    "method": method,
                    "settings": settings,
                    "let_through": seen["asr"],
                    "lookalikes_refused": seen["lookalike_refusal"],
                    "ordinary_refused": seen["ordinary_refusal"],
                    "broken": seen["broken"],
                    "cost": look.cost,
                    "step": seen["step"],
                    "guard": guard,
                }
            )
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table, the best setting of each method in bold."""
    best = {m: min((r for r in rows if r["method"] == m), key=lambda r: r["cost"]) for m in {r["method"] for r in rows}}
    lines = [
        "| method | settings changed | let through | look-alikes refused | ordinary refused | broken | cost |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        settings = ", ".join(f"{key} {value:g}" for key, value in row["settings"].items()) or "-"
        settings += " (stopped by a guard)" if row["guard"] else ""
        values = [row[key] for key in ("let_through", "lookalikes_refused", "ordinary_refused", "broken")]
        mark = "**" if best[row["method"]] is row else ""
        cells = [row["method"], f"{mark}{settings}{mark}", *(f"{100 * v:.0f} %" for v in values), f"{row['cost']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/sweep"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--methods", nargs="+", choices=list(GRID), default=list(GRID))
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("--docs", type=Path, help="Markdown file to put the table into")
    options = parser.parse_args()
    if not options.only_table:
        run(options.out, options.jobs, options.methods, Console())
    rows = table(options.out)
    write_json(options.out / "sweep.json", rows)
    write_text(options.out / "sweep.md", markdown(rows))
    if options.docs:
        put_between_marks(options.docs, "sweep", markdown(rows).splitlines())
    print(markdown(rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
