"""Answers per second of the engine against plain transformers, one at a time and in batches: same cases, same greedy answers.

One at a time is what a loop around `model.generate` does: the processor is called for every case, the whole prompt is run, and every
picture is encoded. Plain batches are the same for `BATCH` cases at once, in the order in which they come. The engine is what an evaluation
uses. Pictured cases are answered twice by it: with pictures it has not seen, and with features that it kept, as for the second model of a
family. All take turns over parts of the cases, so that whatever else the machine does falls on all.

    python benchmarks/throughput.py                                   # the built-in model, 192 typed and 192 pictured cases
    python benchmarks/throughput.py --limit 16                        # a short look; small batches flatter neither side
    python benchmarks/throughput.py --docs docs/measuring.md          # puts the table between the marks throughput:start and :end
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from textunlearn.data.loading import load_counted
from textunlearn.environment import describe
from textunlearn.evaluation.batching import BATCH
from textunlearn.evaluation.generation import generate, requests
from textunlearn.evaluation.suites import Suite, build_cases
from textunlearn.files import append_records, write_json
from textunlearn.pictures import open_picture
from textunlearn.recipe import ModelSpec
from textunlearn.records import Answer, Case
from textunlearn.report.markdown import put_between_marks
from textunlearn.vlm.image_features import ImageFeatures
from textunlearn.vlm.load import Vlm, load

BAR, BATCHED_BAR = 15.0, 1.7
"""How many times as many answers a second as one at a time, and as in plain batches."""
SOURCE = "xstest_safe"
"""Ships with the package; what is asked does not matter here."""
KINDS = {"typed": "direct", "pictured": "typography_short"}


@dataclass
class Measured:
    """``seconds`` that ``n`` answers took, and how many of them are what plain transformers says."""

    kind: str
    how: str
    n: int
    tokens: int
    seconds: float
    equal: int

    @property
    def rate(self) -> float:
        return self.n / self.seconds


def plainly(vlm: Vlm, case: Case, folder: Path, tokens: int) -> tuple[str, int]:
    """What transformers alone says of one case, and in how many tokens."""
    import torch

    pictures = [open_picture(folder / name) for name in case.images]
    text = vlm.text_of(case.text, images=len(pictures))
    given = vlm.processor(images=[pictures] if pictures else None, text=[text], return_tensors="pt").to(vlm.device)
    weight: Any = vlm.embed.weight
    given = {k: v.to(weight.dtype) if v.is_floating_point() else v for k, v in given.items()}
    with torch.inference_mode():
        out = vlm.base.generate(**given, max_new_tokens=tokens, do_sample=False)[
            0, given["input_ids"].shape[1] :
        ].tolist()
    ends = set(vlm.stop_ids())
    length = next((i for i, token in enumerate(out) if token in ends), len(out))
    return vlm.tokenizer.decode(out[:length], skip_special_tokens=True), length


def plainly_batched(vlm: Vlm, cases: Sequence[Case], folder: Path, tokens: int) -> list[tuple[str, int]]:
    """The same of many cases, as many at once as the engine takes, in the order in which they come."""
    import torch

    vlm.tokenizer.padding_side = "left"
    weight: Any = vlm.embed.weight
    ends = set(vlm.stop_ids())
    told = []
    for start in range(0, len(cases), BATCH):
        some = cases[start : start + BATCH]
        pictures = [[open_picture(folder / name) for name in case.images] for case in some]
        texts = [vlm.text_of(case.text, images=len(case.images)) for case in some]
        given = vlm.processor(
            images=pictures if any(pictures) else None, text=texts, padding=True, return_tensors="pt"
        ).to(vlm.device)
        given = {k: v.to(weight.dtype) if v.is_floating_point() else v for k, v in given.items()}
        with torch.inference_mode():
            out = vlm.base.generate(**given, max_new_tokens=tokens, do_sample=False)
        for row in out[:, given["input_ids"].shape[1] :].tolist():
            length = next((i for i, token in enumerate(row) if token in ends), len(row))
            told.append((vlm.tokenizer.decode(row[:length], skip_special_tokens=True), length))
    return told


def engine(
    vlm: Vlm, cases: Sequence[Case], folder: Path, store: Path, tokens: int, features: ImageFeatures
) -> list[Answer]:
    """The path of an evaluation, with image features of its own."""
    asked = requests(vlm, cases, folder)
    kept = features if features.works else None
    return generate(vlm, asked, tokens, lambda _, answers: append_records(store, answers), features=kept)


def measure(vlm: Vlm, kind: str, cases: Sequence[Case], folder: Path, tokens: int, parts: int) -> list[Measured]:
    """Two rows for plain transformers and one (typed) or two (pictured) for the engine."""
    size = -(-len(cases) // parts)
    pieces = [cases[start : start + size] for start in range(0, len(cases), size)]
    ways = [
        "one at a time",
        "plain batches",
        "engine",
        *(["engine, pictures seen before"] if kind == "pictured" else []),
    ]
    rows = {how: Measured(kind, how, 0, 0, 0.0, 0) for how in ways}
    with tempfile.TemporaryDirectory() as name:
        features = ImageFeatures(vlm, Path(name))
        # Not measured: what happens once only (allocations, code that is compiled or imported).
        plainly(vlm, cases[0], folder, 2)
        plainly_batched(vlm, cases[:1], folder, 2)
        engine(vlm, cases[:1], folder, Path(name) / "first.jsonl", 2, ImageFeatures(vlm, Path(name) / "first"))
        for piece in pieces:
            told: list[tuple[str, int]] = []
            for how in ways:
                began = time.perf_counter()
                if how == "one at a time":
                    told = said = [plainly(vlm, case, folder, tokens) for case in piece]
                elif how == "plain batches":
                    said = plainly_batched(vlm, piece, folder, tokens)
                else:
                    found = engine(vlm, piece, folder, Path(name) / f"{how}.jsonl", tokens, features)
                    said = [(answer.text, answer.tokens) for answer in found]
                row = rows[how]
                row.seconds += time.perf_counter() - began
                row.n += len(piece)
                row.tokens += sum(length for _, length in said)
                row.equal += sum(one == other for one, other in zip(said, told, strict=True))
    return list(rows.values())


def table(rows: Sequence[Measured], about: dict[str, Any], made: str, tokens: int) -> list[str]:
    """Lines of Markdown."""
    lines = ["| cases | how | n | answers a second | times as fast | same answers |", "|---|---|---|---|---|---|"]
    for row in rows:
        ratio = row.rate / next(r.rate for r in rows if r.kind == row.kind)
        same = "" if row.how == "one at a time" else f"{row.equal} of {row.n}"
        lines.append(f"| {row.kind} | {row.how} | {row.n} | {row.rate:.2f} | {ratio:.1f} | {same} |")
    machine = about["machine"]
    return [
        *lines,
        "",
        f"Made by `{made}` with torch {about['versions']['torch']} and transformers {about['versions']['transformers']}, {about['dtype']}, "
        f"{machine['threads']} threads on {machine['cores']} cores of {machine['processor']}; at most {tokens} tokens an answer.",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin", help="hub id or folder")
    parser.add_argument("--dtype", default="auto", help="as model.dtype in a recipe")
    parser.add_argument("--limit", type=int, default=192, help="cases of each kind")
    parser.add_argument(
        "--tokens", type=int, default=32, help="of an answer, at most; 32 is what evaluations take by default"
    )
    parser.add_argument(
        "--parts", type=int, default=1, help="how often the two sides take turns; smaller batches for the engine"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/throughput.json"))
    parser.add_argument("--docs", type=Path, help="Markdown file with the marks throughput:start and throughput:end")
    options = parser.parse_args()
    spec = ModelSpec(id=options.model, dtype=options.dtype)
    vlm = load(spec)
    prompts = load_counted(SOURCE).prompts
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory() as name:
        for kind, attack in KINDS.items():
            if kind == "pictured" and vlm.image_token_id is None:
                continue
            suite = Suite(name=kind, source=SOURCE, attack=attack, limit=options.limit, title=kind, max_chars=100)
            cases = build_cases(suite, prompts, Path(name))
            rows += measure(vlm, kind, cases, Path(name), options.tokens, options.parts)
    about = describe(spec)
    made = f"python benchmarks/throughput.py --limit {options.limit}" + f" --tokens {options.tokens}" * (
        options.tokens != 32
    )
    lines = table(rows, about, made, options.tokens)
    print("\n".join(lines))
    write_json(options.out, {**about, "rows": [{**asdict(row), "answers_per_second": row.rate} for row in rows]})
    if options.docs:
        put_between_marks(options.docs, "throughput", lines)
    rate = {(row.kind, row.how): row.rate for row in rows}
    bars = {"one at a time": BAR, "plain batches": BATCHED_BAR}
    reached = [
        rate[kind, "engine"] / rate[kind, how] >= bar
        for kind in {row.kind for row in rows}
        for how, bar in bars.items()
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    raise SystemExit(main())
