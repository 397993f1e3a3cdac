"""What `compare` starts in tests instead of ``textunlearn run``: the real job with stand-in parts, or a pretended one.

    compare_child.py RECIPE --out FOLDER             the real job; how many case answers were generated goes to FOLDER/generated
    compare_child.py --pretend RECIPE --out FOLDER   leaves what a run leaves, made up, and counts its starts in FOLDER/starts

A pretended run does what FOLDER's file ``fate`` says, if there is one: "mendable" and "fault" fail, "hang" waits to be stopped.
"""

from __future__ import annotations

import atexit
import sys
import time
from pathlib import Path
from typing import Any

import job_run
from textunlearn import cli, shell
from textunlearn.errors import UserError
from textunlearn.files import write_json, write_text


def real(arguments: list[str]) -> None:
    from textunlearn.evaluation import generation

    for registry, name, part in job_run.stand_ins():
        registry[name] = part
    inner, seen = generation._batch, [0]

    def counting(vlm: Any, asked: Any, tokens: int, *more: Any) -> Any:
        seen[0] += len(asked) if tokens == job_run.ASKED else 0
        return inner(vlm, asked, tokens, *more)

    generation._batch = counting
    atexit.register(lambda: write_text(Path(arguments[-1]) / "generated", str(seen[0])))
    sys.argv = ["textunlearn", "run", *arguments]
    cli.main()


def pretend(folder: Path) -> None:
    starts = folder / "starts"
    began = int(starts.read_text()) if starts.exists() else 0
    write_text(starts, str(began + 1))
    fate = (folder / "fate").read_text() if (folder / "fate").exists() else ""
    if fate == "mendable":
        raise UserError("the cat sat on the keyboard; lift it off")
    if fate == "fault":
        raise ZeroDivisionError("division by zero")
    if not (folder / "answers/before.jsonl").exists():
        write_text(folder / "answers/before.jsonl", f"made by {folder.name}\n")
    write_text(folder / "verdicts/before.stand-in-1.jsonl", "")
    while fate == "hang":
        time.sleep(0.05)
    write_json(folder / "metrics.json", {"run": {}, "models": [], "suites": [], "utility": {}})
    write_text(folder / "report.html", "")


if __name__ == "__main__":
    if sys.argv[1] == "--pretend":
        sys.exit(shell.run(lambda args, prog_name: pretend(Path(args[-1])), sys.argv[2:], lambda: False))
    real(sys.argv[1:])
