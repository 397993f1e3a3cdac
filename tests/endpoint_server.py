"""A small real HTTP server that behaves as an endpoint does on bad days: what it says is a function of what it is asked."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from textunlearn.endpoint import Endpoint, EndpointSpec, Message
from textunlearn.records import Case, Prompt


@dataclass(frozen=True)
class Asked:
    """One request. ``number``: how many came before it; ``before``: how many with the same last words."""

    body: dict[str, Any]
    headers: Mapping[str, str]
    number: int
    before: int
    at: float

    @property
    def text(self) -> str:
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@dataclass(frozen=True)
class Said:
    """One response. ``drop``: the connection is closed in the middle of it."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False


def completion(text: Any, *, finish: str | None = "stop", prompt: int | None = None, **message: Any) -> dict[str, Any]:
    """The JSON of a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    usage = {"completion_tokens": len(str(text).split()), "prompt_tokens": prompt}
    return {"object": "chat.completion", "model": "m-1", "choices": [choice], "usage": usage}


def echo(asked: Asked) -> Said:
    """Answers everything."""
    return Said(completion(f"answer to {asked.text}"))


class Served:
    """The server while it runs: its address, and what it was asked."""

    def __init__(self, behave: Callable[[Asked], Said]) -> None:
        self.behave = behave
        self.asked: list[Asked] = []
        self.texts: Counter[str] = Counter()
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                pass  # clients are killed on purpose

        self.server = Server(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            asked = Asked(body, dict(handler.headers), len(self.asked), 0, time.monotonic())
            asked = Asked(body, asked.headers, asked.number, self.texts[asked.text], asked.at)
            self.asked.append(asked)
            self.texts[asked.text] += 1
        try:
            said = self.behave(asked)
            time.sleep(said.delay)
        finally:
            with self._lock:
                self._now -= 1
        data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        handler.send_response(said.status)
        for name, value in said.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2] if said.drop else data)
        handler.close_connection |= said.drop


@contextmanager
def serve(behave: Callable[[Asked], Said] = echo) -> Iterator[Served]:
    served = Served(behave)
    thread = threading.Thread(target=served.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.server.shutdown()
        served.server.server_close()
        thread.join()


def endpoint(served: Served, **settings: Any) -> Endpoint:
    quick = {"first_wait": 0.01, "retries": 3, "timeout": 10.0}
    return Endpoint(EndpointSpec(base_url=served.url, model="m", **{**quick, **settings}))


def chats(n: int) -> list[list[Message]]:
    return [[Message("user", f"question {i}")] for i in range(n)]


def cases(n: int) -> list[Case]:
    prompts = [Prompt(f"question {i}", "ordinary", "test") for i in range(n)]
    return [Case("typed", "direct", prompt, prompt.text) for prompt in prompts]
