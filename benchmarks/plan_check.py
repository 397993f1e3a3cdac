"""Is `textunlearn plan` right? Peak memory and time of real training steps on this processor beside what was planned before.

    python benchmarks/plan_check.py                     # three sizes, LoRA and all weights: some minutes
    python benchmarks/plan_check.py --size 30M --write docs/plan.md

Models are the built-in one's kind at other sizes, made from their configs with random weights. Each trains in a process of its own: the
plan's rows, three steps of the project's trainer. Its peak is counted from the first step on, since loading a model is another matter.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES: dict[str, dict[str, int]] = {
    "30M": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 10, "num_attention_heads": 6},
    "150M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 34, "num_attention_heads": 9},
    "500M": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 36, "num_attention_heads": 16},
}
STEPS = 3


def write_config(folder: Path, size: str) -> None:
    """A folder with config and processor, and no weights."""
    from transformers import AutoConfig, AutoProcessor

    from textunlearn.vlm.builtin.build import path

    config = AutoConfig.from_pretrained(path())
    for name, value in SIZES[size].items():
        setattr(config.text_config, name, value)
    config.text_config.num_key_value_heads = config.text_config.num_attention_heads
    config.text_config.head_dim = config.text_config.hidden_size // config.text_config.num_attention_heads
    config.vision_config.hidden_size = config.text_config.hidden_size
    config.save_pretrained(folder)
    AutoProcessor.from_pretrained(path()).save_pretrained(folder)


def recipe(folder: Path, full: bool, dtype: str) -> Any:
    from textunlearn import recipes

    wanted = [
        f"training.steps={STEPS}",
        f"training.full={str(full).lower()}",
        f"model.dtype={dtype}",
        "model.device=cpu",
    ]
    return recipes.read(None, wanted, model__id=str(folder))


def planned(folder: Path, full: bool, dtype: str) -> dict[str, float]:
    from textunlearn.planning.machines import machine
    from textunlearn.planning.plan import plan

    found = plan(recipe(folder, full, dtype), machine("cpu"), only=lambda way: way.full == full)
    (one,) = found.estimates
    return {
        "parameters": found.parameters,
        "memory": one.memory,
        "model": one.memory - one.libraries,
        "seconds": one.seconds / STEPS,
    }


def high_water() -> int:
    """Bytes at most since the last `reset`; Linux alone has it."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1])


def trained(folder: Path, full: bool, dtype: str) -> dict[str, float]:
    """Train a random model of the config in ``folder``; what the steps took."""
    import torch
    from transformers import AutoConfig

    from textunlearn.methods import METHODS
    from textunlearn.planning.rows import stand_in_rows
    from textunlearn.training.plan import Plan
    from textunlearn.training.reference import reference_states
    from textunlearn.training.trainer import UnlearningTrainer, add_lora, method_layers
    from textunlearn.vlm.load import auto_class, wrap
    from textunlearn.vlm.processor import load_processor

    wanted = recipe(folder, full, dtype)
    spec, config = wanted.training, AutoConfig.from_pretrained(folder)
    torch.manual_seed(0)
    model = auto_class(config).from_config(config, dtype=getattr(torch, dtype)).eval().requires_grad_(False)
    vlm = wrap(model, load_processor(str(folder), config), "random")
    method = METHODS.get(wanted.method.name)()
    rows = stand_in_rows(vlm, wanted, method)
    counts = {"harmful": spec.harmful_rows, "lookalike": spec.lookalike_rows, "ordinary": spec.ordinary_rows}
    plan = Plan(rows, counts, spec.steps, spec.accumulate, wanted.seed)
    with tempfile.TemporaryDirectory() as work:
        known = reference_states(
            vlm,
            plan.rows(),
            Path(work) / "reference.safetensors",
            roles=method.reference,
            layers=method_layers(vlm, method),
        )
        add_lora(vlm, spec.lora_rank, spec.lora_alpha, spec.lora_skip, full=full)
        trainer = UnlearningTrainer(vlm, method, plan, known, spec, Path(work) / "checkpoints")
        trainer.args.save_strategy = "no"
        vlm.model.train()
        Path("/proc/self/clear_refs").write_text("5")
        started = time.monotonic()
        trainer.train()
        return {"memory": high_water(), "seconds": (time.monotonic() - started) / STEPS}


def apart(what: str, *arguments: str) -> dict[str, float]:
    """One of the two above in a process of its own."""
    # glibc would raise this threshold as it goes, keep more and more freed memory, and show it as used.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    done = subprocess.run(
        [sys.executable, __file__, "--part", what, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", choices=list(SIZES), action="append", help="may be repeated; all if left out")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="keep what was measured there, and do not measure it again"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between its marks in this file")
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        what, folder, full, dtype = given.part
        import transformers

        transformers.logging.set_verbosity_error()
        print(json.dumps({"planned": planned, "trained": trained}[what](Path(folder), full == "full", dtype)))
        return
    from textunlearn.environment import machine, versions
    from textunlearn.vlm.load import fast_bf16

    dtype = "bfloat16" if fast_bf16() else "float32"
    lines = [
        "| weights | trained | planned | measured | off by | without libraries | step planned | measured |",
        "|---|---|---|---|---|---|---|---|",
    ]
    known: dict[str, Any] = json.loads(given.results.read_text()) if given.results and given.results.exists() else {}
    for size in given.size or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write_config(Path(folder), size)
            for full in ("lora", "full"):
                if f"{size} {full}" not in known:
                    known[f"{size} {full}"] = [apart(what, folder, full, dtype) for what in ("planned", "trained")]
                if given.results:
                    given.results.write_text(json.dumps(known))
    worst = 0.0
    for name, (before, after) in sorted(known.items(), key=lambda one: one[1][0]["parameters"]):
        off = before["memory"] / after["memory"] - 1
        rest = after["memory"] - (before["memory"] - before["model"])
        worst = max(worst, abs(off))
        lines.append(
            f"| {before['parameters'] / 1e6:.0f} M | {'all weights' if name.endswith('full') else 'LoRA'} "
            f"| {before['memory'] / 1e9:.2f} GB | {after['memory'] / 1e9:.2f} GB | {off:+.0%} "
            f"| {before['model'] / 1e9:.2f} of {rest / 1e9:.2f} GB | {before['seconds']:.1f} s | {after['seconds']:.1f} s |"
        )
    about, had = machine(), versions()
    lines += [
        "",
        f"Made by `python benchmarks/plan_check.py` with torch {had['torch']}, transformers {had['transformers']}, {dtype}, "
        f"{about['threads']} threads on {about['cores']} cores of {about['processor']}; at most {worst:.0%} off.",
    ]
    print("\n".join(lines))
    if given.write:
        from textunlearn.report.markdown import put_between_marks

        put_between_marks(given.write, "plan-check", lines)


if __name__ == "__main__":
    main()
