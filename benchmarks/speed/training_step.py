"""Time and peak memory of a training step beside steps as they are commonly written (`baselines.py`): same rows, same loss, same dtype.

The rows are those of the default recipe (numbers a step, lengths, half of them in the image slots) with harmless requests in the place of
harmful ones, which costs the same. The loss is textual unlearning as published, which all ways compute exactly. Each step is forward,
backward and optimiser. The ways take turns within one process, so that whatever else the machine does falls on all; memory is each
way's own process. Ours is timed with its reference states at hand, as in training; what those cost once is the line below the table.

    python benchmarks/speed/training_step.py                              # the built-in model
    python benchmarks/speed/training_step.py --docs docs/speed.md         # puts the table between the marks training-step:start and :end
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines import BASELINES, NEEDS_SECOND_MODEL, Weights

from textunlearn.environment import describe, peak_rss
from textunlearn.files import write_json
from textunlearn.recipe import DataSpec, ModelSpec, SlotSpec, TrainingSpec
from textunlearn.report.markdown import put_between_marks
from textunlearn.vlm.load import Vlm, load

OURS = "textunlearn"
PUBLISHED = Weights(0.5, 1.0, 1.0)
TARGETS = {
    "separate forwards, second model": 3.0,
    "retain twice, second model": 3.0,
    "concatenated rows, adapter off": 2.0,
}
"""How many times faster a step has to be."""
MEMORY_TARGET = 0.45
"""Of a step against separate forwards."""


def rows_of_steps(vlm: Vlm, steps: int, method: Any, slots: float = 0.5) -> Any:
    """A `Plan` of the default recipe's shape."""
    from textunlearn.data.loading import load_counted
    from textunlearn.training.build_rows import training_rows
    from textunlearn.training.plan import Plan

    spec = TrainingSpec()
    lookalike = load_counted("lookalikes").prompts
    ordinary = load_counted("ordinary").prompts
    half = len(ordinary) // 2
    prompts = {"harmful": ordinary[:half], "lookalike": lookalike, "ordinary": ordinary[half:]}
    said = (
        "Sure, here is what you asked for, step by step: first, take what you need and put it on the table, then begin."
    )
    answers = {prompt.id: said for some in prompts.values() for prompt in some}
    share = slots if vlm.image_token_id is not None else 0.0
    rows = training_rows(vlm, prompts, answers, method, SlotSpec(share=share), DataSpec(), 0)
    per_step = {"harmful": spec.harmful_rows, "lookalike": spec.lookalike_rows, "ordinary": spec.ordinary_rows}
    return Plan(rows, per_step, steps)


@dataclass
class Prepared:
    """A model with its adapter, rows, and a step of each way: ``step(way, number)`` gives the loss."""

    vlm: Vlm
    plan: Any
    step: Callable[[str, int], float]
    reference_seconds: float
    reference_rows: int


def prepare(model: str, dtype: str, steps: int, ways: Sequence[str]) -> Prepared:
    """Everything that one of ``ways`` needs, and nothing else, so that its memory is its own."""
    import torch

    from textunlearn.methods import METHODS
    from textunlearn.training.optimizer import MasterAdamW
    from textunlearn.training.reference import reference_states
    from textunlearn.training.trainer import UnlearningTrainer, add_lora

    torch.manual_seed(0)
    double = dtype == "float64"
    vlm = load(ModelSpec(id=model, dtype="float32" if double else dtype))
    if double:
        vlm.model.double()
    method = METHODS.get("textual_unlearning_published")()
    plan = rows_of_steps(vlm, steps, method)
    original = copy.deepcopy(vlm.base) if any(way in NEEDS_SECOND_MODEL for way in ways) else None
    spec, began = TrainingSpec(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        reference = reference_states(vlm, plan.rows(), Path(folder) / "states") if OURS in ways else {}
        seconds = time.perf_counter() - began
        add_lora(vlm, spec.lora_rank, spec.lora_alpha)
        trainer = UnlearningTrainer(vlm, method, plan, reference, spec, Path(folder) / "checkpoints")
    trained = [p for p in vlm.model.parameters() if p.requires_grad]
    optimizers = {
        way: MasterAdamW(trained, lr=spec.lr) if way == OURS else torch.optim.AdamW(trained, lr=spec.lr) for way in ways
    }
    vlm.model.train()

    def loss_of(way: str, micro: Any) -> Any:
        if way == OURS:
            return trainer.compute_loss(trainer.bare, {"micro": micro})
        return BASELINES[way](vlm, original, micro.rows, PUBLISHED)

    def step(way: str, number: int) -> float:
        loss = loss_of(way, plan[number])
        loss.backward()
        optimizers[way].step()
        optimizers[way].zero_grad()
        return loss.item()

    return Prepared(vlm, plan, step, seconds, len(plan.rows()))


def alone(model: str, dtype: str, steps: int, way: str) -> dict[str, float]:
    """Peak memory of one way, in this process: in all, and beyond what Python with its libraries takes."""
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    from textunlearn.training import trainer  # noqa: F401

    before = peak_rss()
    ready = prepare(model, dtype, steps, [way])
    for number in range(steps):
        ready.step(way, number)
    return {"peak": peak_rss(), "libraries": before}


def in_own_process(model: str, dtype: str, steps: int, way: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--model", model, "--dtype", dtype, "--steps", str(steps), "--alone", way]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin", help="hub id or folder")
    parser.add_argument(
        "--dtype", default="auto", help="as model.dtype in a recipe; float64 compares losses, not times"
    )
    parser.add_argument("--steps", type=int, default=7, help="paired steps; the median of their ratios counts")
    parser.add_argument("--out", type=Path, default=Path("runs/speed/training_step.json"))
    parser.add_argument(
        "--docs", type=Path, help="Markdown file with the marks training-step:start and training-step:end"
    )
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(alone(options.model, options.dtype, options.steps, options.alone)))
        return 0
    ways = [OURS, *BASELINES]
    memory = {way: in_own_process(options.model, options.dtype, 3, way) for way in ways}
    ready = prepare(options.model, options.dtype, options.steps + 1, ways)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.steps + 1):
        for way in ways:
            began = time.perf_counter()
            ready.step(way, number)
            if number:  # the first is for what happens once
                seconds[way].append(time.perf_counter() - began)
    rows = [_row(way, seconds, memory) for way in ways]
    about = describe(ModelSpec(id=options.model, dtype=options.dtype))
    once = f"Reference states: {ready.reference_seconds / ready.reference_rows * 1000:.0f} ms a training row, once."
    lines = [*_table(rows), "", once, "", _made(about, options.steps)]
    print("\n".join(lines))
    write_json(
        options.out, {**about, "rows": rows, "reference_seconds_a_row": ready.reference_seconds / ready.reference_rows}
    )
    if options.docs:
        put_between_marks(options.docs, "training-step", lines)
    return 0 if all(row["reached"] for row in rows) else 1


def _row(way: str, seconds: dict[str, list[float]], memory: dict[str, dict[str, float]]) -> dict[str, Any]:
    ratios = sorted(theirs / ours for theirs, ours in zip(seconds[way], seconds[OURS], strict=True))
    own = {name: found["peak"] - found["libraries"] for name, found in memory.items()}
    first = next(iter(BASELINES))
    share = own[OURS] / own[first] if way == first else None
    return {
        "way": way,
        "seconds": statistics.median(seconds[way]),
        "times": statistics.median(ratios),
        "lowest": ratios[0],
        "highest": ratios[-1],
        "peak_mib": own[way] / 2**20,
        "memory_share": own[OURS] / own[way],
        "target": TARGETS.get(way),
        "reached": statistics.median(ratios) >= TARGETS.get(way, 0) and (share is None or share <= MEMORY_TARGET),
    }


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| step | seconds | ours is faster by (lowest to highest) | wanted | peak memory, MiB | ours needs |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        mine = row["way"] == OURS
        faster = "" if mine else f"**{row['times']:.2f}×** ({row['lowest']:.2f} to {row['highest']:.2f})"
        wanted = "" if mine else f"{row['target']:g}×"
        share = "" if mine else f"{row['memory_share']:.2f} of it"
        lines.append(
            f"| {row['way']} | {row['seconds']:.2f} | {faster} | {wanted} | {row['peak_mib']:,.0f} | {share} |"
        )
    return lines


def _made(about: dict[str, Any], steps: int) -> str:
    machine = about["machine"]
    return (
        f"Made by `python benchmarks/speed/training_step.py`: medians of {steps} paired steps, {about['model']}, {about['dtype']}, "
        f"{machine['threads']} threads on {machine['cores']} cores of {machine['processor']}, torch {about['versions']['torch']}, "
        f"transformers {about['versions']['transformers']}. Memory: peak of the process less what Python and its libraries take."
    )


if __name__ == "__main__":
    raise SystemExit(main())
