"""The broad set of suites on one model, as `textunlearn evaluate MODEL --suite broad` does it, and its table into the docs.

python benchmarks/broad.py --docs docs/measuring.md       # between the marks broad:start and broad:end; goes on where it was stopped
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from textunlearn.evaluation import asked
from textunlearn.evaluation.metrics import read_metrics
from textunlearn.evaluation.single import SingleRun
from textunlearn.files import read_json
from textunlearn.report.markdown import markdown_table, put_between_marks
from textunlearn.report.table import print_table, read_table


def lines(folder: Path, command: str) -> list[str]:
    """The table of an evaluated folder in Markdown, and what it was made with."""
    metrics, about = read_metrics(folder), read_json(folder / "environment.json")
    machine, versions = about["machine"], about["versions"]
    used = f"torch {versions['torch']}, transformers {versions['transformers']}"
    return [
        *markdown_table(read_table(metrics)),
        "",
        f"Made by `{command}` with {used} on {machine['cores']} cores of {machine['processor']}, {about['dtype']}; judge "
        f"{metrics['run']['judge']}; case set {about['cases_hash']}. In brackets: 95 % intervals, wide at so small an n.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--limit", type=int, default=8, help="cases a suite, at most")
    parser.add_argument("--out", type=Path, default=Path("runs/evaluate-broad"))
    parser.add_argument("--docs", type=Path, help="Markdown file with the marks broad:start and broad:end")
    options = parser.parse_args()
    console = Console()
    run = SingleRun(options.out, asked.spec(options.model, suites=["broad"], limit=options.limit), console)
    try:
        run.run()
    finally:
        run.close()
    print_table(read_metrics(options.out), console)
    if options.docs:
        command = f"textunlearn evaluate {options.model} --suite broad --limit {options.limit}"
        put_between_marks(options.docs, "broad", ["", *lines(options.out, command), ""])


if __name__ == "__main__":
    main()
