"""The same again: do cases, greedy answers, verdicts and metrics depend on batch size, order, sittings, threads or processes?

Each way answers the same cases as one sitting in batches of 16 does. The differing answers are listed with where they part; the judge is
rules, offline. Cases are built again in another process with another hash seed. Exit code 1 where a way agrees on fewer than 99.5 %.

    python benchmarks/determinism.py                              # the built-in model, 48 typed and 48 pictured harmless cases
    python benchmarks/determinism.py --dtype bfloat16 --limit 12  # a short look at half precision
    python benchmarks/determinism.py --model my/folder --json determinism.json
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from textunlearn.data.loading import load_counted
from textunlearn.environment import describe
from textunlearn.evaluation.generation import answer_cases
from textunlearn.evaluation.metrics import summarise
from textunlearn.evaluation.statistics import Rate
from textunlearn.evaluation.suites import Suite, build_cases, case_set_hash
from textunlearn.files import write_json, write_records
from textunlearn.judges import FAST
from textunlearn.judges.spec import make
from textunlearn.recipe import ModelSpec
from textunlearn.records import Answer, Case
from textunlearn.report.markdown import put_between_marks
from textunlearn.vlm.load import Vlm, load

BAR = 0.995
BATCH = 16
SOURCE = "xstest_safe"
"""Ships with the package, and is harmless: its answers can be shown."""
KINDS = {"typed": "direct", "pictured": "typography_short"}


HEAD = ("| way | same answer | share [95 %] | other verdicts | metrics |", "|---|---|---|---|---|")


@dataclass(frozen=True)
class Asked:
    """What every way answers."""

    vlm: Vlm
    spec: ModelSpec
    cases: Sequence[Case]
    folder: Path
    tokens: int

    def answer(self, cases: Sequence[Case], batch: int = BATCH) -> dict[str, Answer]:
        """By case, nothing from a store."""
        with tempfile.TemporaryDirectory() as store:
            said = answer_cases(
                self.vlm, cases, self.folder, Path(store) / "answers.jsonl", self.tokens, batch_size=batch
            )
        return {answer.case: answer for answer in said}


WAYS: dict[str, Callable[[Asked], dict[str, Answer]]] = {}


def way(name: str) -> Callable[[Callable[[Asked], dict[str, Answer]]], Callable[[Asked], dict[str, Answer]]]:
    def register(function: Callable[[Asked], dict[str, Answer]]) -> Callable[[Asked], dict[str, Answer]]:
        WAYS[name] = function
        return function

    return register


@way("the same again")
def again(asked: Asked) -> dict[str, Answer]:
    return asked.answer(asked.cases)


@way("one at a time")
def alone(asked: Asked) -> dict[str, Answer]:
    return asked.answer(asked.cases, 1)


@way("batches of 7")
def sevens(asked: Asked) -> dict[str, Answer]:
    return asked.answer(asked.cases, 7)


@way("batches of 64")
def large(asked: Asked) -> dict[str, Answer]:
    return asked.answer(asked.cases, 64)


@way("another order")
def shuffled(asked: Asked) -> dict[str, Answer]:
    return asked.answer(random.Random(1).sample(list(asked.cases), len(asked.cases)))


@way("three sittings")
def sittings(asked: Asked) -> dict[str, Answer]:
    """As an evaluation that was stopped twice: each goes on with what is left, in other batches."""
    order = random.Random(2).sample(list(asked.cases), len(asked.cases))
    out: dict[str, Answer] = {}
    for part in (order[0::3], order[1::3], order[2::3]):
        out |= asked.answer(part)
    return out


@way("other threads")
def threads(asked: Asked) -> dict[str, Answer]:
    """One where there were several, two where there was one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    try:
        return asked.answer(asked.cases)
    finally:
        torch.set_num_threads(before)


@way("two processes")
def processes(asked: Asked) -> dict[str, Answer]:
    """Each loads the model and answers every second case."""
    context = multiprocessing.get_context("spawn")
    parts = [(asked.spec, list(asked.cases[i::2]), asked.folder, asked.tokens) for i in range(2)]
    with context.Pool(2) as pool:
        said = pool.starmap(_in_a_process, parts)
    return {key: answer for one in said for key, answer in one.items()}


def _in_a_process(spec: ModelSpec, cases: list[Case], folder: Path, tokens: int) -> dict[str, Answer]:
    return Asked(load(spec), spec, cases, folder, tokens).answer(cases)


@dataclass
class Agreement:
    """How far one way agrees with the plain one.

    Attributes:
        differing: case, its suite, and both answers from where they part.
        verdicts: cases with another label.
        metrics: whether every count of every suite is the same.
    """

    way: str
    n: int
    equal: int
    verdicts: int
    metrics: bool
    seconds: float
    differing: list[dict[str, Any]] = field(default_factory=list)

    @property
    def enough(self) -> bool:
        return self.equal >= BAR * self.n


def agreement(name: str, asked: Asked, plain: dict[str, Answer], other: dict[str, Answer], seconds: float) -> Agreement:
    """``other`` against ``plain``: answers, verdicts, metrics."""
    differing = []
    for case in asked.cases:
        one, two = plain[case.id], other[case.id]
        if one != two:
            pairs = enumerate(zip(one.text, two.text, strict=False))
            at = next((i for i, (a, b) in pairs if a != b), min(len(one.text), len(two.text)))
            texts = [text[max(0, at - 20) : at + 40] for text in (one.text, two.text)]
            differing.append({"case": case.id, "suite": case.suite, "at": at, "plain": texts[0], "other": texts[1]})
    judge = make(FAST)
    judged = [judge.judge(asked.cases, list(said.values())) for said in (plain, other)]
    labels = [{v.case: v.label for v in verdicts} for verdicts in judged]
    counts = [summarise(asked.cases, {"model": list({v.case: v for v in verdicts}.values())}) for verdicts in judged]
    changed = sum(labels[0][key] != labels[1][key] for key in labels[0])
    return Agreement(
        name,
        len(asked.cases),
        len(asked.cases) - len(differing),
        changed,
        counts[0] == counts[1],
        round(seconds, 1),
        differing,
    )


def build(limit: int, folder: Path) -> list[Case]:
    """Harmless requests, typed and as pictures."""
    prompts = load_counted(SOURCE).prompts
    suites = [
        Suite(name=kind, source=SOURCE, attack=attack, limit=limit, title=kind, max_chars=100)
        for kind, attack in KINDS.items()
    ]
    return [case for suite in suites for case in build_cases(suite, prompts, folder)]


def case_hash_elsewhere(limit: int, seed: str) -> str:
    """`case_set_hash` of the cases as another process with the hash seed ``seed`` builds them."""
    code = (
        "import sys, tempfile, pathlib; sys.path.insert(0, sys.argv[1]); import determinism as d\n"
        "with tempfile.TemporaryDirectory() as f: print(d.case_set_hash(d.build(int(sys.argv[2]), pathlib.Path(f))))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(limit)]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
    )
    return ran.stdout.strip()


def measure(asked: Asked, ways: Sequence[str]) -> list[Agreement]:
    """Each of ``ways`` against one sitting."""
    plain = asked.answer(asked.cases)
    found = []
    for name in ways:
        began = time.monotonic()
        other = WAYS[name](asked)
        one = agreement(name, asked, plain, other, time.monotonic() - began)
        found.append(one)
        print(row(one), flush=True)
        for case in one.differing:
            print(f"    {case['suite']} {case['case']} from sign {case['at']}: {case['plain']!r} / {case['other']!r}")
    return found


def row(one: Agreement) -> str:
    rate = Rate(one.equal, one.n)
    metrics = "the same" if one.metrics else "others"
    return f"| {one.way} | {one.equal} of {one.n} | {rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}] | {one.verdicts} | {metrics} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--limit", type=int, default=48, help="cases of each kind")
    parser.add_argument("--tokens", type=int, default=48, help="of an answer, at most")
    parser.add_argument("--way", action="append", choices=WAYS, help="this one alone; may be repeated")
    parser.add_argument("--json", type=Path, help="figures, and every answer that differs")
    parser.add_argument(
        "--docs", type=Path, help="Markdown file: the table goes between its marks determinism:start and :end"
    )
    given = parser.parse_args()
    spec = ModelSpec.model_validate({"id": given.model, "dtype": given.dtype})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = build(given.limit, folder)
        write_records(folder / "cases.jsonl", cases)
        hashes = Counter([case_set_hash(cases), *(case_hash_elsewhere(given.limit, seed) for seed in ("1", "2"))])
        print(f"cases: {len(cases)}, built three times, case sets {', '.join(hashes)}")
        print(*HEAD, sep="\n")
        found = measure(Asked(load(spec), spec, cases, folder, given.tokens), given.way or list(WAYS))
    if given.docs:
        put_between_marks(given.docs, "determinism", [*HEAD, *map(row, found)])
    if given.json:
        counts = Counter(case["suite"] for one in found for case in one.differing)
        about = {"model": describe(spec), "tokens": given.tokens, "differing": counts, "case_sets": list(hashes)}
        write_json(given.json, about | {"ways": [asdict(one) for one in found]})
    return int(len(hashes) > 1 or not all(one.enough for one in found))


if __name__ == "__main__":
    sys.exit(main())
