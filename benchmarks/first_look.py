"""The table of `textunlearn run first-look` into the docs.

textunlearn run first-look
python benchmarks/first_look.py runs/first-look --docs docs/start.md       # between the marks first-look:start and first-look:end
"""

from __future__ import annotations

import argparse
from pathlib import Path

from broad import lines
from textunlearn.report.markdown import put_between_marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--docs", type=Path, help="Markdown file with the marks first-look:start and first-look:end")
    options = parser.parse_args()
    table = lines(options.run, "textunlearn run first-look")
    print("\n".join(table))
    if options.docs:
        put_between_marks(options.docs, "first-look", ["", *table, ""])


if __name__ == "__main__":
    main()
