"""Measure the judges that need no model, and put what was measured where reports and docs read it.

    python benchmarks/judge_error.py [../shared/data/xstest/judge_check_*.csv] [--docs docs/judges.md]

Writes src/textunlearn/judges/measured.json (what reports correct rates by) and the tables between the marks of the docs. Sets: the built-in
answers, pyrit's refusal sets (fetched), and the files named. Only held-out halves are shown;
rules and thresholds were chosen on the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from textunlearn.environment import machine, versions
from textunlearn.evaluation.judge_error import MEASURED
from textunlearn.files import write_json
from textunlearn.judges.check import built_in, labelled_file, pyrit
from textunlearn.judges.measured import measure_all, offline
from textunlearn.judges.spec import make
from textunlearn.report.judges import markdown
from textunlearn.report.markdown import put_between_marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="more labelled answers, such as XSTest's")
    parser.add_argument("--docs", type=Path, help="Markdown file with the marks judges:start and judges:end")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sets = [built_in(), pyrit(), *map(labelled_file, arguments.files)]
    judges = {judge.name: measure_all(judge, sets) for judge in map(make, offline())}
    about = {"made_by": "python benchmarks/judge_error.py", "versions": versions(), "machine": machine()}
    write_json(MEASURED, {**about, "judges": judges})
    if arguments.docs:
        made = f"Made by `{about['made_by']}` with transformers {about['versions']['transformers']} on {about['machine']['processor']}."
        put_between_marks(arguments.docs, "judges", ["", *markdown(judges), "", made, ""])


if __name__ == "__main__":
    main()
