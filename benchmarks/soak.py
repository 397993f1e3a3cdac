"""Evaluation and chat at the same time, for as long as you like: does memory stay flat, does anything fail, how long do clients wait?

    python benchmarks/soak.py runs/quickstart --minutes 120 --clients 20 --out soak.json

A server of the run (`textunlearn serve`, a process of its own) is asked by so many clients at once, each one question after the
other: typed, with pictures of several sizes, streamed and not, of both models; a few leave in the middle. Beside them an evaluation
asks the same server for its suites, over and over. Memory is the server's resident set. After a warm-up (a fifth of the time, 10
minutes at most) the mean of each tenth of the rest must lie within 5 % of the first's. Exit code 1 if it does not, or if any request
failed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from textunlearn.attacks.typography import LAYOUTS, render
from textunlearn.environment import machine, versions
from textunlearn.files import write_json

WORDS = (
    "What is the capital of France?",
    "Write a short note to my neighbour about the garden gate.",
    "Why do birds sing in spring?",
    "List three ideas for a birthday.",
    "How do I bake a good loaf of bread at home?",
    "Write an insulting letter to my neighbour.",
)
FLAT = 0.05
LEAVES = 0.05
"""Share of the clients' streams that are broken off in the middle."""


@dataclass
class Seen:
    """What happened."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"whole": [], "first piece": []})
    failures: Counter[str] = field(default_factory=Counter)
    evaluations: int = 0
    left: int = 0
    memory: list[tuple[float, int, int]] = field(default_factory=list)
    """Seconds since the start, resident bytes of the server and of the evaluation (0 between two)."""


@contextmanager
def server(run: Path, judge: str, tokens: int) -> Iterator[tuple[str, int]]:
    """``textunlearn serve`` in a process of its own: its address and process."""
    command = [sys.executable, "-m", "textunlearn", "serve", str(run), "--port", "0", "--judge", judge]
    command += ["--rate", "1000000", "--tokens", str(max(tokens, 256))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"OpenAI API: (http\S+)/v1", line):
                    yield found[1], process.pid
                    break
            else:
                sys.exit("the server did not start")
        finally:
            process.terminate()


def pictures(number: int) -> list[str]:
    """Data URIs of all kinds: drawn text in several looks, noise, photos' sizes, PNG and JPEG."""
    out = []
    for n, (layout, words) in zip(range(number), itertools.product(LAYOUTS.values(), WORDS), strict=False):
        image = render(words, layout) if n % 3 else Image.effect_noise((200 + 97 * n, 900 - 31 * n), 60).convert("RGB")
        buffer, kind = io.BytesIO(), ("PNG", "JPEG")[n % 2]
        image.save(buffer, format=kind)
        out.append(f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}")
    return out


async def client(number: int, url: str, until: float, tokens: int, shown: list[str], seen: Seen) -> None:
    """One question after the other."""
    lots = random.Random(number)
    limits = httpx.Timeout(300)
    async with httpx.AsyncClient(base_url=url, timeout=limits, trust_env=False) as http:
        while time.monotonic() < until:
            try:
                await question(http, lots, tokens, shown, seen)
            except Exception as error:
                seen.failures[f"{type(error).__name__}: {error}"[:200]] += 1
                await asyncio.sleep(1)


async def question(http: httpx.AsyncClient, lots: random.Random, tokens: int, shown: list[str], seen: Seen) -> None:
    words, picture = lots.choice(WORDS), lots.choice(shown) if lots.random() < 0.5 else ""
    began, page = time.monotonic(), lots.random() < 0.3
    if page:
        attack = lots.choice(("", "prefill", "cue_what", "jailbreak_wrapper"))
        body: dict[str, Any] = {"request": words, "picture": picture, "attack": attack, "tokens": tokens}
        body |= {"strength": lots.choice((0.0, 0.5, 1.0))}
    else:
        parts = [{"type": "image_url", "image_url": {"url": picture}}] if picture else []
        content = [*parts, {"type": "text", "text": words}]
        body = {"model": lots.choice(("original", "aligned")), "messages": [{"role": "user", "content": content}]}
        body |= {"max_tokens": tokens, "stream": lots.random() < 0.5, "temperature": lots.choice((0, 1)), "seed": 1}
    streamed, leaves = page or body["stream"], lots.random() < LEAVES
    async with http.stream("POST", "/api/ask" if page else "/v1/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            raise ValueError(f"{answer.status_code} {(await answer.aread()).decode()}")
        told = []
        async for line in answer.aiter_lines():
            if not told:
                seen.seconds["first piece"].append(time.monotonic() - began)
            told.append(line)
            if streamed and leaves and len(told) > 6:
                seen.left += 1
                return
        if any('"error"' in line for line in told):
            raise ValueError(next(line for line in told if '"error"' in line))
        if streamed and not any(line in ("data: [DONE]", 'data: {"done": true}') for line in told):
            raise ValueError("a stream ended too early")
    seen.seconds["whole"].append(time.monotonic() - began)


async def evaluate(url: str, until: float, folder: Path, seen: Seen, now: list[int]) -> None:
    """One evaluation of the server after the other, each in a process of its own."""
    for number in itertools.count():
        if time.monotonic() >= until:
            return
        out = folder / f"evaluation-{number}"
        command = [sys.executable, "-m", "textunlearn", "evaluate", f"{url}/v1", "--served", "aligned", "--limit", "4"]
        command += ["--suite", "xstest_safe@direct", "--suite", "xstest_safe@typography_short", "--out", str(out)]
        command += ["--set", "evaluation.judge=rules", "--set", "evaluation.max_new_tokens=24"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        now[:] = [process.pid]
        _, said = await process.communicate()
        now.clear()
        if process.returncode:
            seen.failures[f"evaluation: {said.decode()[-200:]}"] += 1
            await asyncio.sleep(1)
        else:
            seen.evaluations += 1


async def watch(pid: int, until: float, began: float, seen: Seen, now: list[int]) -> None:
    """Memory, every second; progress, every minute."""
    process, said = psutil.Process(pid), 0
    while time.monotonic() < until:
        beside = 0
        for other in now:
            with suppress(psutil.Error):
                beside = psutil.Process(other).memory_info().rss
        at = time.monotonic() - began
        seen.memory.append((at, process.memory_info().rss, beside))
        if at // 60 > said:
            said = int(at // 60)
            done, left = len(seen.seconds["whole"]), round((until - time.monotonic()) / 60)
            mib = process.memory_info().rss >> 20
            print(
                f"{said} min: {done} answers, {sum(seen.failures.values())} failures, {mib} MiB, {left} min left",
                file=sys.stderr,
            )
        await asyncio.sleep(1)


def flatness(memory: list[tuple[float, int, int]], warm: float) -> dict[str, Any]:
    """The server's memory by tenths after the warm-up, and the largest departure from the first of them."""
    rest = [(at, rss) for at, rss, _ in memory if at >= warm]
    span = (rest[-1][0] - warm) / 10
    tenths = [[rss for at, rss in rest if warm + n * span <= at < warm + (n + 1) * span] for n in range(10)]
    means = [statistics.mean(one) for one in tenths if one]
    worst = max(abs(mean / means[0] - 1) for mean in means)
    return {
        "mib_by_tenth": [round(mean / 2**20, 1) for mean in means],
        "largest_change": round(worst, 4),
        "flat": worst <= FLAT,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, p95 and p99 in seconds."""
    cuts = statistics.quantiles(values, n=100) if len(values) > 1 else values * 99
    return {"n": len(values), "median": round(cuts[49], 3), "p95": round(cuts[94], 3), "p99": round(cuts[98], 3)}


async def soak(options: argparse.Namespace) -> dict[str, Any]:
    seen, now = Seen(), list[int]()
    with server(options.run, options.judge, options.tokens) as (url, pid), tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        until, shown = began + 60 * options.minutes, pictures(12)
        jobs = [client(n, url, until, options.tokens, shown, seen) for n in range(options.clients)]
        await asyncio.gather(*jobs, evaluate(url, until, Path(folder), seen, now), watch(pid, until, began, seen, now))
    warm = min(600.0, 60 * options.minutes / 5)
    memory = flatness(seen.memory, warm)
    return {
        "command": " ".join(["python benchmarks/soak.py", *sys.argv[1:]]),
        "minutes": options.minutes,
        "clients": options.clients,
        "answers": len(seen.seconds["whole"]),
        "left": seen.left,
        "evaluations": seen.evaluations,
        "failures": dict(seen.failures),
        "seconds": {name: spread(values) for name, values in seen.seconds.items() if values},
        "memory": memory,
        "ok": memory["flat"] and not seen.failures,
        "versions": versions(),
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=48, help="length of an answer, at most")
    parser.add_argument("--judge", default="relevance")
    parser.add_argument("--out", type=Path, default=Path("soak.json"))
    options = parser.parse_args()
    found = asyncio.run(soak(options))
    write_json(options.out, found)
    print(
        json.dumps(
            {key: found[key] for key in ("answers", "evaluations", "failures", "seconds", "memory", "ok")}, indent=2
        )
    )
    sys.exit(0 if found["ok"] else 1)


if __name__ == "__main__":
    main()
