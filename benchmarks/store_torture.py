"""Kill an evaluation again and again: the store must lose no answer and repeat none.

A small HTTP server answers as an endpoint would. A child process puts the cases to it with `answer_cases` and is killed
(SIGKILL) every few seconds until it ends by itself. After each kill the parent reads the store: what stands there is finished, and
the server counts every later request for it. Needs POSIX and `textunlearn[endpoint]`.

    python benchmarks/store_torture.py                            # 10,000 cases, a kill every 2 to 4 seconds
    python benchmarks/store_torture.py --cases 300 --every 0.5    # a short look
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from textunlearn.endpoint import Endpoint, EndpointSpec
from textunlearn.evaluation.generation import answer_cases
from textunlearn.files import read_records
from textunlearn.records import Answer, Case, Prompt

CONCURRENCY = 16
STARTED = "begun"
"""What the child prints when it begins to ask: kills are timed from there, or a slow start would see nothing but kills."""


def cases(count: int) -> list[Case]:
    prompts = [Prompt(f"case {i}: how do I frobnicate thing {i}?", "ordinary", "torture") for i in range(count)]
    return [Case("torture", "direct", prompt, prompt.text) for prompt in prompts]


def said(text: str) -> str:
    """What the server answers: long enough to be torn, with signs of several bytes."""
    return f"Réponse — 答え to <{text}>\n" * 5


class Counting(ThreadingHTTPServer):
    """Answers every question after ``delay`` seconds, fails one in fifty, and counts."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.delay = delay
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.failed = 0
        self.finished: set[str] = set()
        self.repeated: list[str] = []

    def handle_error(self, request: Any, address: Any) -> None:
        """A killed client is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Counting

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.asked[text] += 1
            if text in self.server.finished:
                self.server.repeated.append(text)
            fails = self.server.asked.total() % 50 == 0
            self.server.failed += fails
        time.sleep(self.server.delay)
        choice = {"index": 0, "message": {"content": said(text)}, "finish_reason": "stop"}
        data = json.dumps({"error": {"message": "busy"}} if fails else {"choices": [choice]}).encode()
        self.send_response(503 if fails else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def child(url: str, store: Path, count: int) -> None:
    """The process that is killed."""
    spec = EndpointSpec(base_url=url, model="m", concurrency=CONCURRENCY, first_wait=0.05)
    print(STARTED, flush=True)
    answer_cases(Endpoint(spec), cases(count), store.parent, store, 64)


def torture(count: int, every: float, delay: float, seconds: float, seed: int = 0) -> dict[str, Any]:
    """Counts of a whole run; ``done`` is False where ``seconds`` did not suffice."""
    server = Counting(delay)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    chance, started = random.Random(seed), time.monotonic()
    kills = torn = 0
    code: int | None = None
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "answers.jsonl"
        command = [sys.executable, __file__, "--child", url, str(store), "--cases", str(count)]
        while code is None and time.monotonic() - started < seconds:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            process.stdout.readline()
            try:
                code = process.wait(every * chance.uniform(0.67, 1.33))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
            process.stdout.close()
            torn += store.exists() and not store.read_bytes().endswith(b"\n")
            with server.lock:
                server.finished |= _texts(store, count)
        answers = read_records(store, Answer)
    server.shutdown()
    server.server_close()
    wanted = {case.id: said(case.text) for case in cases(count)}
    stored = Counter(answer.case for answer in answers)
    return {
        "cases": count,
        "done": code == 0,
        "kills": kills,
        "torn_lines": torn,
        "seconds": round(time.monotonic() - started, 1),
        "requests": server.asked.total(),
        "failed_requests": server.failed,
        "in_flight_at_kills": server.asked.total() - server.failed - len(answers),
        "lost": len(wanted.keys() - stored.keys()),
        "stored_twice": sum(n - 1 for n in stored.values()),
        "wrong": sum(wanted.get(answer.case) != answer.text for answer in answers),
        "asked_again_though_stored": len(server.repeated),
    }


def _texts(store: Path, count: int) -> set[str]:
    """What the stored answers were asked."""
    by_id = {case.id: case.text for case in cases(count)}
    return {by_id[answer.case] for answer in read_records(store, Answer)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between kills, give or take a third")
    parser.add_argument("--delay", type=float, default=0.02, help="seconds the server takes for an answer")
    parser.add_argument("--seconds", type=float, default=900.0, help="give up after so long")
    parser.add_argument("--child", nargs=2, metavar=("URL", "STORE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]), given.cases)
        return
    counts = torture(given.cases, given.every, given.delay, given.seconds)
    print(json.dumps(counts, indent=2))
    broken = [name for name in ("lost", "stored_twice", "wrong", "asked_again_though_stored") if counts[name]]
    if broken or not counts["done"]:
        sys.exit(f"the store failed: {', '.join(broken) or 'not done in time'}")


if __name__ == "__main__":
    main()
