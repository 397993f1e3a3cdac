"""Attention on this CPU: PyTorch's fused kernel against `textunlearn.vlm.attention`, on the shapes of training, prefill and generation.

python benchmarks/speed/attention.py                        # the built-in model's heads
python benchmarks/speed/attention.py --heads 32 --shared 8 --size 128
python benchmarks/speed/attention.py --docs docs/speed.md   # between the marks attention:start and attention:end
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from textunlearn.environment import machine
from textunlearn.files import write_json
from textunlearn.report.markdown import put_between_marks
from textunlearn.vlm.attention import grouped_attention
from textunlearn.vlm.load import fast_bf16

CASES = {
    "training, forward and backward": (2, 245, 245, True),
    "prefill": (32, 60, 90, False),
    "the next token": (32, 1, 110, False),
}
"""Rows, tokens, tokens with those before, gradients."""


class Layer(nn.Module):
    """What attention functions ask of their layer."""

    is_causal = True

    def __init__(self, group: int) -> None:
        super().__init__()
        self.num_key_value_groups = group


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=9)
    parser.add_argument("--shared", type=int, default=3, help="heads of the keys")
    parser.add_argument("--size", type=int, default=64, help="of a head")
    parser.add_argument("--runs", type=int, default=31)
    parser.add_argument("--out", type=Path, default=Path("runs/speed/attention.json"))
    parser.add_argument("--docs", type=Path, help="Markdown file with the marks attention:start and attention:end")
    options = parser.parse_args()
    dtype = torch.bfloat16 if fast_bf16() else torch.float32
    layer = Layer(options.heads // options.shared)
    rows = []
    for name, (count, tokens, whole, grad) in CASES.items():
        shapes = [(tokens, options.heads), (whole, options.shared), (whole, options.shared)]
        given = [
            torch.randn(count, length, heads, options.size, dtype=dtype).transpose(1, 2).requires_grad_(grad)
            for length, heads in shapes
        ]
        allowed = torch.ones(tokens, whole, dtype=torch.bool).tril(whole - tokens).expand(count, 1, tokens, whole)
        added = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)
        ways: dict[str, Callable[[], Tensor]] = {
            "fused": partial(_fused, layer, given, allowed.contiguous()),
            "grouped": partial(_grouped, layer, given, added),
        }
        seconds = {way: [_once(call, grad) for _ in range(options.runs)] for way, call in ways.items()}
        medians = {way: statistics.median(some) for way, some in seconds.items()}
        rows.append({"case": name, **medians})
    lines = ["| one layer's attention | fused, ms | grouped, ms | times as fast |", "|---|---|---|---|"]
    for row in rows:
        fused, grouped = float(row["fused"]), float(row["grouped"])
        lines.append(f"| {row['case']} | {fused * 1e3:.2f} | {grouped * 1e3:.2f} | {fused / grouped:.1f} |")
    about = machine()
    lines += [
        "",
        f"Made by `python benchmarks/speed/attention.py`: medians of {options.runs} runs, {str(dtype).removeprefix('torch.')}, "
        f"{options.heads} heads, {options.shared} of the keys, {options.size} wide, {about['threads']} threads of {about['processor']}, "
        f"torch {torch.__version__}.",
    ]
    print("\n".join(lines))
    write_json(options.out, {"machine": about, "rows": rows})
    if options.docs:
        put_between_marks(options.docs, "attention", lines)
    return 0


def _fused(layer: Layer, given: list[Tensor], mask: Tensor) -> Tensor:
    return sdpa_attention_forward(layer, *given, mask)[0]  # type: ignore[no-any-return]


def _grouped(layer: Layer, given: list[Tensor], mask: Tensor) -> Tensor:
    return grouped_attention(layer, *given, mask)[0]


def _once(call: Callable[[], Tensor], grad: bool) -> float:
    began = time.perf_counter()
    with torch.enable_grad() if grad else torch.inference_mode():
        out = call()
        if grad:
            out.float().square().sum().backward()
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
