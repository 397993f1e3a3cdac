"""Whether a harness heard from an exported model what this project's own engine hears: ``python … MODEL SAMPLES.jsonl [DTYPE]``.

SAMPLES are what ``--log_samples`` of lm-evaluation-harness or lmms-eval wrote of the tasks beside this file (docs/harnesses.md).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from textunlearn.evaluation.generation import generate, requests
from textunlearn.evaluation.short_answers import right
from textunlearn.evaluation.suites import Suite, build_cases
from textunlearn.progress import bar
from textunlearn.recipe import ModelSpec
from textunlearn.records import Answer, Prompt
from textunlearn.vlm.load import load

TOKENS = 16


def main(model: str, samples: str, dtype: str = "float32") -> None:
    """Print how many answers are the same, and how many are right in each."""
    rows = [json.loads(line) for line in Path(samples).read_text(encoding="utf-8").splitlines()]
    docs = [row["doc"] for row in rows]
    prompts = [Prompt(doc["question"], "ordinary", "short_answers") for doc in docs]
    attack = "typography_short" if "pictured" in Path(samples).name else "direct"
    suite = Suite.model_validate({"source": "short_answers", "attack": attack, "limit": len(prompts)})
    vlm = load(ModelSpec.model_validate({"id": model, "dtype": dtype}))
    with tempfile.TemporaryDirectory() as folder, bar(Console(), "answers", len(prompts)) as progress:
        shown = {case.prompt.id: case for case in build_cases(suite, prompts, Path(folder))}
        cases = [shown[prompt.id] for prompt in prompts]

        def done(indices: list[int], _: list[Answer]) -> None:
            progress.add(len(indices))

        ours = [answer.text for answer in generate(vlm, requests(vlm, cases, Path(folder)), TOKENS, done)]
    theirs = [str(row["filtered_resps"][0]) for row in rows]
    same = sum(a.strip() == b.strip() for a, b in zip(ours, theirs, strict=True))
    counts = [sum(right(a, d["answers"]) for a, d in zip(said, docs, strict=True)) for said in (theirs, ours)]
    print(f"{same} of {len(rows)} answers are the same; right: {counts[0]} in the harness, {counts[1]} here")


if __name__ == "__main__":
    main(*sys.argv[1:])
