"""How time and memory grow with the number of tokens, training rows and cases, over three decades.

Tokens: packed forwards with their backward, in rows of the default recipe's length. Rows: from prompts and answers to a training plan.
Cases: answers that are stored, read again, judged by rules and counted. Each size is timed several times and the least counts; the
exponent is the slope of a line through the logarithms, from the second size on (the first is mostly what happens once). Memory is what
the process holds more than before, for each row or case of the largest size.

    python benchmarks/speed/scaling.py
    python benchmarks/speed/scaling.py --docs docs/speed.md --plot docs/scaling.svg     # between the marks scaling:start and scaling:end
"""

from __future__ import annotations

import argparse
import gc
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from textunlearn.environment import machine
from textunlearn.files import append_records, read_records, write_json
from textunlearn.recipe import DataSpec, ModelSpec, SlotSpec
from textunlearn.records import Answer, Case, Prompt
from textunlearn.report.markdown import put_between_marks
from textunlearn.vlm.load import Vlm, load

SIZES = {
    "tokens": (100, 1_000, 10_000, 100_000),
    "training rows": (100, 1_000, 10_000, 100_000),
    "cases": (100, 1_000, 10_000, 100_000),
}
WANTED = 1.05
ANSWER = "Sure, here is how to do that: first take the flour, then add the water, and knead it for ten minutes."


def prompts(count: int) -> list[Prompt]:
    return [
        Prompt(f"Tell me how to bake loaf number {n} of my bakery in a wood oven.", "ordinary", "made")
        for n in range(count)
    ]


def tokens(vlm: Vlm, count: int) -> Callable[[], object]:
    """Rows of about a hundred tokens, packed as a step is, 16 rows a forward."""
    from textunlearn.training.packing import answer_states, lay_out
    from textunlearn.training.rows import Row, Target

    # No two begin alike: what they share would be computed once.
    some = [Row("ordinary", (20 + n, *range(40, 119)), (Target("benign", tuple(range(120, 140))),)) for n in range(16)]
    left = [min(16, count // 100 - start) for start in range(0, count // 100, 16)]

    def work() -> None:
        for rows in left:
            packed = lay_out(vlm, some[:rows])
            states = answer_states(vlm.decoder, vlm.embed, packed)
            sum(one.float().square().sum() for one in states.values()).backward()  # type: ignore[union-attr]

    return work


def rows(vlm: Vlm, count: int) -> Callable[[], object]:
    from textunlearn.methods import METHODS
    from textunlearn.training.build_rows import training_rows
    from textunlearn.training.plan import Plan

    asked = prompts(count)
    answers = {prompt.id: ANSWER for prompt in asked}
    method = METHODS.get("textual_unlearning")()

    def work() -> object:
        made = training_rows(vlm, {"ordinary": asked}, answers, method, SlotSpec(share=0), DataSpec(), 0)
        return Plan(made, {"ordinary": 5}, count // 5)

    return work


def cases(_: Vlm, count: int) -> Callable[[], object]:
    from textunlearn.judges.spec import make

    asked = [Case("made", "direct", prompt, prompt.text) for prompt in prompts(count)]
    judge = make("rules")

    def work() -> object:
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "answers.jsonl"
            for start in range(0, count, 64):
                append_records(store, [Answer(c.id, ANSWER, 24, True) for c in asked[start : start + 64]])
            return judge.judge(asked, list(read_records(store, Answer)))

    return work


WORK: dict[str, Callable[[Vlm, int], Callable[[], object]]] = {"tokens": tokens, "training rows": rows, "cases": cases}


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Of the least-squares line through the logarithms."""
    x, y = [math.log(n) for n in sizes], [math.log(s) for s in seconds]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def held() -> int:
    import psutil

    gc.collect()
    return int(psutil.Process().memory_info().rss)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WORK, help="one of them")
    parser.add_argument("--largest", type=int, default=100_000, help="leave out sizes beyond this")
    parser.add_argument("--out", type=Path, default=Path("runs/speed/scaling.json"))
    parser.add_argument("--docs", type=Path, help="Markdown file with the marks scaling:start and scaling:end")
    parser.add_argument("--plot", type=Path, help="picture to draw")
    options = parser.parse_args()
    vlm = load(ModelSpec())
    for weight in vlm.base.parameters():
        weight.requires_grad_(False)
    vlm.embed.weight.requires_grad_(True)  # type: ignore[union-attr]
    found: dict[str, dict[str, list[float]]] = {}
    for name in [options.only] if options.only else WORK:
        sizes = [size for size in SIZES[name] if size <= options.largest]
        seconds, memory = [], []
        for size in sizes:
            before, work, best, kept = held(), WORK[name](vlm, size), math.inf, None
            for _ in range(1 if size >= 100_000 else 3):
                began = time.perf_counter()
                kept = work()
                best = min(best, time.perf_counter() - began)
            seconds.append(best)
            memory.append(max(0, held() - before) / size)
            del work, kept
            print(f"{name}: {size:,} in {best:.2f} s", flush=True)
        found[name] = {"sizes": sizes, "seconds": seconds, "bytes_each": memory}  # type: ignore[dict-item]
    exponents = {name: slope(one["sizes"][1:], one["seconds"][1:]) for name, one in found.items()}  # type: ignore[arg-type]
    lines = [
        "| of | from … to | seconds | exponent (wanted: at most 1.05) | memory kept for each, bytes |",
        "|---|---|---|---|---|",
    ]
    for name, one in found.items():
        times = " / ".join(f"{s:.2g}" for s in one["seconds"])
        span = f"{one['sizes'][0]:,} … {one['sizes'][-1]:,}"
        lines.append(f"| {name} | {span} | {times} | **{exponents[name]:.2f}** | {one['bytes_each'][-1]:,.0f} |")
    about = machine()
    lines += [
        "",
        f"Made by `python benchmarks/speed/scaling.py` on {about['threads']} threads of {about['processor']}, built-in model.",
    ]
    print("\n".join(lines))
    write_json(options.out, {"machine": about, "found": found, "exponents": exponents})
    if options.plot:
        draw(found, options.plot)
    if options.docs:
        put_between_marks(options.docs, "scaling", lines)
    return 0 if all(exponent <= WANTED for exponent in exponents.values()) else 1


def draw(found: dict[str, dict[str, list[float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, one in found.items():
        axis.loglog(one["sizes"], one["seconds"], marker="o", label=name)
    axis.set_xlabel("how many")
    axis.set_ylabel("seconds")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    raise SystemExit(main())
