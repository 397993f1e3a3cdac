"""Put chats to an OpenAI-compatible endpoint, many at a time.

``httpx2`` carries the requests: huggingface_hub brings it already, and what an evaluation needs around a request (one pause for
all when the endpoint is busy, a deadline over the whole response, errors that never quote the key) is not what OpenAI's client does.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.endpoint import prefill, wire
from textunlearn.endpoint.arrivals import Hand, arrivals
from textunlearn.endpoint.estimate import prompt_tokens
from textunlearn.endpoint.key import Key
from textunlearn.endpoint.messages import Chat, Reply, begun, chat_of, data_uri, message_json
from textunlearn.endpoint.pace import Pace, back_off
from textunlearn.endpoint.spec import EndpointSpec
from textunlearn.errors import UserError
from textunlearn.records import Answer, Case
from textunlearn.sounds import open_sound

if TYPE_CHECKING:
    import httpx2

IN_A_ROW = 20
"""So many requests failed one after the other, in spite of their retries: the endpoint is out of order, and asking on is no use."""
CONNECT = 20.0
"""Seconds to connect, at most."""
AGAIN = "what was answered is kept, so run the same command again to go on"


class Endpoint:
    """A model behind an OpenAI-compatible endpoint.

    Args:
        spec: which, and how fast. Its key is read from the environment now; UserError if it is not there.

    Attributes:
        served: what the server called the models that answered so far.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        if importlib.util.find_spec("httpx2") is None:
            raise UserError("endpoints need the package httpx2; run `pip install 'textunlearn[endpoint]'`")
        self.spec = spec
        self.served: set[str] = set()
        self._key = Key.read(spec.key_env)
        self._pace = Pace(spec.requests_per_minute, spec.tokens_per_minute)
        self._style: prefill.Style | None = None

    @property
    def name(self) -> str:
        return f"{self.spec.model} at {self.spec.base_url}"

    def ask(
        self, chats: Sequence[Chat], max_tokens: int, done: Callable[[int, Reply], None] | None = None
    ) -> list[Reply]:
        """What the model replies to each chat, in the order of ``chats``; a failure is a Reply whose ``error`` says why.

        ``done(index, reply)`` is called in this thread as soon as a reply is there. A chat that ends with an assistant's message is
        gone on with. UserError where no chat can be answered: the key or the model is not accepted, the endpoint is out of order,
        a picture is missing, or an answer that has begun is not gone on with.
        """
        for picture in {image for chat in chats for message in chat for image in message.images}:
            data_uri(picture)  # or it is found out after hours
        for sound in {sound for chat in chats for message in chat for sound in message.sounds}:
            open_sound(sound)
        style = self._require_prefill() if any(map(begun, chats)) else None
        replies: list[Reply | None] = [None] * len(chats)

        def body(index: int) -> dict[str, Any]:
            return self._body(chats[index], max_tokens, style.fields if style and begun(chats[index]) else {})

        with contextlib.closing(self._stream(len(chats), body, _cost(chats, max_tokens))) as stream:
            for index, got in stream:
                reply = self._reply(got, chats[index], style)
                replies[index] = reply
                if done is not None:
                    done(index, reply)
        return [reply for reply in replies if reply is not None]

    def answer(
        self,
        cases: Sequence[Case],
        folder: Path,
        max_new_tokens: int,
        keep: Callable[[list[int], list[Answer]], None],
        failed: Callable[[int, str], None],
    ) -> None:
        """Put ``cases`` to the model. ``keep(indices, answers)`` takes each answer, ``failed(index, why)`` each failure.

        ``folder``: what the cases' image paths are relative to. The answers hold the words they began with, as a local model's do.
        """

        def done(index: int, reply: Reply) -> None:
            if reply.error:
                failed(index, reply.error)
            else:
                keep([index], [Answer("", cases[index].prefill + reply.text, reply.tokens, reply.finished)])

        self.ask([chat_of(case, folder) for case in cases], max_new_tokens, done)

    def prefill_style(self) -> prefill.Style | None:
        """How the endpoint goes on with an answer that has begun; None if it does not. Tried once, with up to five requests."""
        if self._style is None and self.spec.prefill != "no":
            self._style = prefill.find(self._probe, self.spec.prefill)
        return self._style

    def _require_prefill(self) -> prefill.Style:
        style = self.prefill_style()
        if style is None:
            raise UserError(
                f"{self.name} does not go on with an answer that has begun, so leave out the suites that begin it (prefill); "
                "where you know that it does, say how in the endpoint's setting prefill: fields or plain"
            )
        return style

    def _probe(self, probes: Sequence[prefill.Probe]) -> list[wire.Completion | wire.Trouble]:
        out: list[wire.Completion | wire.Trouble] = [wire.Trouble("case", "not asked")] * len(probes)

        def body(index: int) -> dict[str, Any]:
            return self._body(probes[index][0], 1, probes[index][1])

        costs = _cost([chat for chat, _ in probes], 1)
        with contextlib.closing(self._stream(len(probes), body, costs)) as stream:
            for index, got in stream:
                out[index] = got
        return out

    def _body(self, chat: Chat, max_tokens: int, fields: dict[str, Any]) -> dict[str, Any]:
        spec = self.spec
        return {
            "model": spec.model,
            "messages": [message_json(message) for message in chat],
            "temperature": spec.temperature,
            spec.max_tokens_field: max_tokens,
            **spec.extra,
            **fields,
        }

    def _reply(self, got: wire.Completion | wire.Trouble, chat: Chat, style: prefill.Style | None) -> Reply:
        if isinstance(got, wire.Trouble):
            return Reply("", 0, False, got.words)
        text = got.text
        if style is not None and style.echo and begun(chat):
            text = text.removeprefix(chat[-1].text)
        return Reply(text, got.tokens, got.finished)

    # -- one sitting with the endpoint ----------------------------------------------------------------------------

    def _stream(
        self, count: int, body: Callable[[int], dict[str, Any]], costs: Sequence[int]
    ) -> Generator[tuple[int, wire.Completion | wire.Trouble], None, None]:
        """``(index, result)`` of each body as it comes."""
        row = 0

        async def worker(client: httpx2.AsyncClient, waiting: Iterator[int], hand: Hand[Any]) -> None:
            nonlocal row
            for index in waiting:
                got = await self._persist(client, body(index), costs[index])
                await hand((index, got))
                if isinstance(got, wire.Completion):
                    row = 0
                elif got.kind != "filtered":  # that is a word about the case
                    row += 1
                if row >= IN_A_ROW and isinstance(got, wire.Trouble):
                    raise UserError(f"{self.name} failed {row} requests in a row, the last with: {got.words}; {AGAIN}")

        async def work(hand: Hand[Any]) -> None:
            waiting = iter(range(count))
            async with self._client() as client:
                workers = [
                    asyncio.ensure_future(worker(client, waiting, hand))
                    for _ in range(min(count, self.spec.concurrency))
                ]
                try:
                    await asyncio.gather(*workers)
                finally:
                    for one in workers:
                        one.cancel()
                    await asyncio.gather(*workers, return_exceptions=True)

        return arrivals(work)

    def _client(self) -> httpx2.AsyncClient:
        import httpx2

        many = self.spec.concurrency
        return httpx2.AsyncClient(
            headers=self._key.header(self.spec.key_header),
            timeout=httpx2.Timeout(None, connect=min(CONNECT, self.spec.timeout)),
            limits=httpx2.Limits(max_connections=many, max_keepalive_connections=many),
            follow_redirects=False,  # the key is for this address alone
        )

    async def _persist(
        self, client: httpx2.AsyncClient, body: dict[str, Any], cost: int
    ) -> wire.Completion | wire.Trouble:
        """One request and its retries. UserError for what stops them all."""
        spec = self.spec
        tries = 0
        while True:
            await self._pace.turn(cost)
            got = await self._once(client, body)
            tries += 1
            if isinstance(got, wire.Completion):
                if got.model:
                    self.served.add(got.model)
                return got
            if got.kind == "stop":
                raise UserError(f"{self.name} refuses every request: {got.words}; {_remedy(got.words, spec)}")
            if got.wait is not None and got.wait > spec.longest_wait and got.kind in {"limit", "again"}:
                raise UserError(f"{self.name} asks to be left alone for {got.wait:.0f} s: {got.words}; {AGAIN} then")
            if got.kind not in {"limit", "again"}:
                return got
            if tries > spec.retries:
                words = got.words if tries == 1 else f"{got.words} (tried {tries} times)"
                return wire.Trouble(got.kind, words)
            wait = max(back_off(tries, spec.first_wait, spec.longest_wait), got.wait or 0.0)
            if got.kind == "limit" or got.wait is not None:
                self._pace.hold(wait)  # the limit is everybody's
            else:
                await asyncio.sleep(wait)

    async def _once(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> wire.Completion | wire.Trouble:
        """One request. Whatever is thrown is put into words here: the frames below hold the key."""
        import httpx2

        try:
            async with asyncio.timeout(self.spec.timeout):
                response = await client.post(f"{self.spec.base_url}/chat/completions", json=body)
                got = wire.read(response.status_code, response.headers, response.content)
        except TimeoutError:
            return wire.Trouble("again", f"no answer within {self.spec.timeout:g} s")
        except Exception as error:
            kind: wire.Kind = "again" if isinstance(error, httpx2.TransportError) else "case"
            return wire.Trouble(kind, self._clean(f"{type(error).__name__}: {error}".removesuffix(": ")))
        if isinstance(got, wire.Trouble):
            return wire.Trouble(got.kind, self._clean(got.words), got.wait)
        return wire.Completion(
            self._key.redact(got.text), got.tokens, got.finished, got.prompt_tokens, self._key.redact(got.model)
        )

    def _clean(self, words: str) -> str:
        """In one short line, without the key; in this order, or a key might be cut and then not be known."""
        return " ".join(self._key.redact_error(words).split())[: wire.WORDS]


def _cost(chats: Sequence[Chat], max_tokens: int) -> list[int]:
    """Tokens each chat may use, as far as is known."""
    return [prompt_tokens(chat) + max_tokens for chat in chats]


_REMEDIES = {
    "HTTP 401": "put a valid key into {key}",
    "HTTP 402": "see to the account's credit",
    "HTTP 403": "see that the key in {key} may use this model",
    "HTTP 404": "check base_url (it ends in /v1 with most servers) and the model's name",
    "HTTP 429": "see to the account's credit",
    "HTTP 3": "give the address it leads to as base_url",
}


def _remedy(words: str, spec: EndpointSpec) -> str:
    found = next((text for start, text in _REMEDIES.items() if words.startswith(start)), "check the model's name")
    return found.format(key=spec.key_env or "an environment variable and name it in key_env")
