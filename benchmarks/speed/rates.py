"""Which share of the machine's own rate of matrix products training and prefill reach, in the precision they run in.

The machine's rate is that of PyTorch's product of 2048 x 2048 matrices here and now. Operations are counted by PyTorch's own formulas
(`textunlearn.training.flops`), so passes that are no products count as time without work. What is measured takes turns with the product.

    python benchmarks/speed/rates.py
    python benchmarks/speed/rates.py --docs docs/speed.md     # between the marks rates:start and rates:end
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from training_step import OURS, prepare

from textunlearn.environment import describe
from textunlearn.files import write_json
from textunlearn.recipe import ModelSpec
from textunlearn.report.markdown import put_between_marks
from textunlearn.training.flops import FlopCounter
from textunlearn.vlm.attention import quick_attention
from textunlearn.vlm.load import Vlm

SIZE = 2048
WANTED = {"training": 0.60, "prefill": 0.65}


def product(dtype: torch.dtype) -> float:
    """Operations a second of one product."""
    one, other = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    began = time.perf_counter()
    for _ in range(3):
        one @ other
    return 3 * 2 * SIZE**3 / (time.perf_counter() - began)


def prefill(vlm: Vlm, rows: int = 32, tokens: int = 100) -> Callable[[], None]:
    """One forward of so many rows as evaluations begin with, logits at the last token."""
    ids = torch.randint(10, 1000, (rows, tokens))
    mask = torch.ones(rows, tokens, dtype=torch.long)
    mask[::2, :7] = 0  # padded, as batches are

    def forward() -> None:
        with torch.inference_mode(), quick_attention(vlm.decoder):
            hidden = vlm.decoder(input_ids=ids, attention_mask=mask, use_cache=True).last_hidden_state
            vlm.logits(hidden[:, -1].contiguous())

    return forward


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin", help="hub id or folder")
    parser.add_argument("--dtype", default="auto", help="as model.dtype in a recipe")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("runs/speed/rates.json"))
    parser.add_argument("--docs", type=Path, help="Markdown file with the marks rates:start and rates:end")
    options = parser.parse_args()
    ready = prepare(options.model, options.dtype, options.runs + 1, [OURS])
    weight: Any = ready.vlm.embed.weight
    forward = prefill(ready.vlm)
    shares: dict[str, list[float]] = {"training": [], "prefill": []}
    best: list[float] = []
    for number in range(options.runs + 1):
        calls: dict[str, Callable[[], Any]] = {
            "training": lambda number=number: ready.step(OURS, number),  # type: ignore[misc]
            "prefill": forward,
        }
        for name, call in calls.items():
            with FlopCounter() as counter:  # follows every operation, which takes time: not the call that is timed
                call()
            began = time.perf_counter()
            call()
            rate = counter.total / (time.perf_counter() - began)
            limit = product(weight.dtype)
            if number:
                best.append(limit)
                shares[name].append(rate / limit)
    about = describe(ModelSpec(id=options.model, dtype=options.dtype))
    limit = statistics.median(best)
    lines = ["| | share of the machine's rate (lowest to highest) | wanted |", "|---|---|---|"]
    for name, some in shares.items():
        middle = statistics.median(some)
        lines.append(
            f"| {name} | **{middle:.0%}** ({min(some):.0%} to {max(some):.0%}) | at least {WANTED[name]:.0%} |"
        )
    machine = about["machine"]
    lines += [
        "",
        f"Made by `python benchmarks/speed/rates.py`: medians of {options.runs} runs, {about['model']}, {about['dtype']}; "
        f"the machine's rate is {limit / 1e9:.0f} GFLOP/s on {machine['threads']} threads of "
        f"{machine['processor']}, torch {about['versions']['torch']}.",
    ]
    print("\n".join(lines))
    write_json(options.out, {**about, "gemm_flops_a_second": limit, "shares": shares})
    if options.docs:
        put_between_marks(options.docs, "rates", lines)
    return 0 if all(statistics.median(some) >= WANTED[name] for name, some in shares.items()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
