"""Time of `import textunlearn` and of `textunlearn --help` over Python's own start, median of runs that take turns.

python benchmarks/speed/start_up.py
python benchmarks/speed/start_up.py --docs docs/speed.md     # between the marks start-up:start and start-up:end
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from textunlearn.environment import machine
from textunlearn.files import write_json
from textunlearn.report.markdown import put_between_marks

WAYS = {
    "Python itself": ["-c", "pass"],
    "import textunlearn": ["-c", "import textunlearn"],
    "textunlearn --help": ["-m", "textunlearn", "--help"],
    "textunlearn methods": ["-m", "textunlearn", "methods"],
}
WANTED = {"import textunlearn": 0.15, "textunlearn --help": 0.3}
"""Seconds over Python's own start, at most."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--out", type=Path, default=Path("runs/speed/start_up.json"))
    parser.add_argument("--docs", type=Path, help="Markdown file with the marks start-up:start and start-up:end")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for run in range(options.runs + 1):
        for name, arguments in WAYS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            if run:  # the first fills the disk's cache
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(some) for name, some in seconds.items()}
    bare = medians["Python itself"]
    lines = ["| command | seconds over Python's own | wanted |", "|---|---|---|"]
    for name in list(WAYS)[1:]:
        wanted = f"at most {WANTED[name]:g}" if name in WANTED else ""
        lines.append(f"| `{name}` | {medians[name] - bare:.2f} | {wanted} |")
    about = machine()
    lines += [
        "",
        f"Made by `python benchmarks/speed/start_up.py`: medians of {options.runs} runs; Python itself takes {bare:.2f} s on "
        f"{about['processor']}.",
    ]
    print("\n".join(lines))
    write_json(options.out, {"machine": about, "seconds": seconds})
    if options.docs:
        put_between_marks(options.docs, "start-up", lines)
    return 0 if all(medians[name] - bare <= most for name, most in WANTED.items()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
