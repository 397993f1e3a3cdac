"""Agreement of a judge with people on refusals, as a table.

    python benchmarks/judge_check.py ../shared/data/xstest/judge_check_*.csv [--judge rules]

Rows are split in two by a hash of the prompt: the rules were tuned on XSTest's half "tuning", never on half "held out".
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from textunlearn.judges import JUDGES
from textunlearn.judges.check import Agreement, LabelledAnswer, agreement, read_labelled


def tuning(row: LabelledAnswer) -> bool:
    """The half that the rules were tuned on."""
    return int(hashlib.sha256(row.prompt.encode()).hexdigest(), 16) % 2 == 0


def line(name: str, half: str, found: Agreement) -> str:
    shown = [f"{value:.3f}" if value is not None else "-" for value in (found.precision, found.recall, found.kappa)]
    return f"{name:<28} {half:<9} {found.n:>5} " + " ".join(f"{value:>9}" for value in shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="CSV files labelled by people")
    parser.add_argument("--judge", default="rules", help="name of a judge (default: rules)")
    arguments = parser.parse_args()
    judge = JUDGES.get(arguments.judge)()
    print(f"judge {judge.name}\n{'file':<28} {'half':<9} {'n':>5} {'precision':>9} {'recall':>9} {'kappa':>9}")
    for path in arguments.paths:
        rows = read_labelled(path)
        parts = {"all": rows, "tuning": [r for r in rows if tuning(r)], "held out": [r for r in rows if not tuning(r)]}
        for half, chosen in parts.items():
            print(line(path.stem, half, agreement(judge, chosen)))


if __name__ == "__main__":
    main()
