"""The routes: the page and its files, what the page asks, and OpenAI's chat API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from textunlearn.attacks.typography import LAYOUTS
from textunlearn.chat.conversation import Turn
from textunlearn.chat.speaking import Decoding
from textunlearn.endpoint.key import Key
from textunlearn.errors import UserError
from textunlearn.serve import attacking, completions, share
from textunlearn.serve.bodies import (
    Drawing,
    Question,
    Side,
    Talk,
    picture,
    read,
    require_short,
    require_tokens,
)
from textunlearn.serve.engine import Ask, Engine, Stream
from textunlearn.serve.guard import Guard
from textunlearn.serve.limits import Limits, Rate, Refused
from textunlearn.serve.pair import ORIGINAL
from textunlearn.serve.verdicts import Verdicts, case_of

ASSETS = {"/page.js": "text/javascript", "/page.css": "text/css"}
PUBLIC = ("/", *ASSETS)
SIDES: tuple[Side, ...] = ("original", "aligned")


@dataclass(frozen=True)
class Server:
    """What the routes work with.

    Attributes:
        about: what the page and its files say of the run: names, precision, judge.
    """

    engine: Engine
    verdicts: Verdicts
    limits: Limits
    about: Mapping[str, Any]
    asks: Rate
    draws: Rate
    began: int

    async def page(self, request: Request) -> Response:
        html = share.environment().get_template("page.html.jinja").render(
            attacks=attacking.offered(), layouts=LAYOUTS, fonts=attacking.FONTS, limits=self.limits
        )  # fmt: skip
        return HTMLResponse(html)

    async def asset(self, request: Request) -> Response:
        """One of the page's own files; the name is a route's, not the client's."""
        text = Path(__file__).with_name(request.url.path[1:]).read_text(encoding="utf-8")
        return Response(text, media_type=ASSETS[request.url.path])

    async def told(self, request: Request) -> Response:
        return JSONResponse({**self.about, "words": share.WORDS, "limits": {"tokens": self.limits.tokens}})

    async def drawing(self, request: Request) -> Response:
        self.draws.take(_address(request))
        wanted = await read(request, Drawing, self.limits)
        return Response(await run_in_threadpool(attacking.draw, wanted), media_type="image/png")

    async def file(self, request: Request) -> Response:
        self.draws.take(_address(request))
        talk = await read(request, Talk, self.limits)
        text = await run_in_threadpool(share.write, talk, self.about, self.limits)
        return Response(
            text,
            media_type="text/html",
            headers={"content-disposition": 'attachment; filename="textunlearn-chat.html"'},
        )

    async def ask(self, request: Request) -> Response:
        """Both answers to a question of the page, as server-sent events: shown, then of each side pieces, its end, its verdict."""
        self.asks.take(_address(request))
        question = await read(request, Question, self.limits)
        earlier = [one for side in question.earlier.values() for one in side]
        require_short((question.request, question.drawn, *(one.text + one.answer for one in earlier)), self.limits)
        require_tokens(question.tokens, self.limits, "tokens")
        if max(map(len, question.earlier.values()), default=0) > self.limits.messages // 2:
            raise Refused(400, "the talk has too many turns; start a new one", param="earlier")
        kept = contextlib.ExitStack()
        try:
            folder = Path(kept.enter_context(_folder()))
            prompt, shown, images = await run_in_threadpool(attacking.put, question, folder, self.limits)
            before = {
                side: await run_in_threadpool(_before, question, side, folder, self.limits, len(images))
                for side in SIDES
            }
            how = Decoding(question.tokens, question.temperature, seed=question.seed, seconds=self.limits.seconds)
            words = (shown.text,) if shown.text or not images else ()
            turn: Turn = ("user", (*[None] * len(images), *words))
            strengths = {"original": ORIGINAL, "aligned": question.strength}
            streams = self.engine.submit(
                [
                    Ask((*turns, turn), (*pictures, *images), shown.prefill, strengths[side], how)
                    for side, (turns, pictures) in before.items()
                ]
            )
        except BaseException:
            kept.close()
            raise
        case = case_of(prompt, shown, question.attack or attacking.NONE, len(images))
        drawn = [] if question.picture else [attacking.uri(path) for path in images]
        first = {"shown": {"typed": shown.text, "prefill": shown.prefill, "pictures": drawn}}

        async def one(side: Side, stream: Stream, put: Callable[[Any], Awaitable[None]]) -> None:
            pieces = [shown.prefill]
            since = time.monotonic()
            try:
                async for piece in stream:
                    pieces.append(piece)
                    await put({"side": side, "piece": piece})
                said = stream.said
                assert said is not None
                seconds = round(time.monotonic() - since, 2)
                await put({"side": side, "end": said.ending, "tokens": said.tokens, "seconds": seconds})
                verdict = await self.verdicts.of(case, "".join(pieces))
                await put({"side": side, "label": verdict.label, "reason": verdict.reason, "judge": verdict.judge})
            except Exception as error:
                await put({"side": side, "error": _said(error)})

        async def events() -> AsyncIterator[bytes]:
            queue: asyncio.Queue[Any] = asyncio.Queue()
            tasks = [
                asyncio.create_task(one(side, stream, queue.put)) for side, stream in zip(SIDES, streams, strict=True)
            ]
            for task in tasks:
                task.add_done_callback(lambda _: queue.put_nowait(None))
            going = len(tasks)
            try:
                yield _event(first)
                while going:
                    if (event := await queue.get()) is None:
                        going -= 1
                    else:
                        yield _event(event)
                yield _event({"done": True})
            finally:
                for task, stream in zip(tasks, streams, strict=True):
                    task.cancel()
                    stream.leave()
                kept.close()

        return StreamingResponse(events(), media_type="text/event-stream")

    async def models(self, request: Request) -> Response:
        return JSONResponse(completions.models(self.began))

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        found = [one for one in completions.models(self.began)["data"] if one["id"] == name]
        if not found:
            raise Refused(404, f"there is no model {name[:80]!r} here", code="model_not_found", param="model")
        return JSONResponse(found[0])

    async def complete(self, request: Request) -> Response:
        """OpenAI's chat completions."""
        self.asks.take(_address(request))
        body = await read(request, completions.ChatBody, self.limits)
        kept = contextlib.ExitStack()
        try:
            folder = Path(kept.enter_context(_folder()))
            wanted = await run_in_threadpool(completions.ask_of, body, folder, self.limits)
            (stream,) = self.engine.submit([wanted])
            pieces = aiter(stream)
            async with _leaving(request, stream):
                # Only until the first piece is a failure an HTTP status.
                first = await anext(pieces, None)
                if not body.stream:
                    async for _ in pieces:
                        pass
        except BaseException:
            kept.close()
            raise
        if not body.stream:
            kept.close()
            assert stream.said is not None
            return JSONResponse(completions.Wording(body.model).whole(stream.said, stream.prompt_tokens))
        wording = completions.Wording(body.model)

        async def events() -> AsyncIterator[bytes]:
            try:
                yield _event(wording.chunk({"role": "assistant", "content": ""}))
                if first is not None:
                    yield _event(wording.chunk({"content": first}))
                    async for piece in pieces:
                        yield _event(wording.chunk({"content": piece}))
                said = stream.said
                assert said is not None
                yield _event(wording.chunk({}, said))
                if body.stream_options is not None and body.stream_options.include_usage:
                    yield _event(wording.last(said, stream.prompt_tokens))
                yield b"data: [DONE]\n\n"
            except Exception as error:
                yield _event({"error": {"message": _said(error), "type": "server_error", "param": None, "code": None}})
            finally:
                stream.leave()
                kept.close()

        return StreamingResponse(events(), media_type="text/event-stream")


def application(
    engine: Engine,
    verdicts: Verdicts,
    limits: Limits,
    about: Mapping[str, Any],
    *,
    loopback: bool = True,
    names: Collection[str] = (),
    key: Key | None = None,
) -> Guard:
    """The ASGI application. Args as of `guard.Guard` and `Server`."""
    server = Server(engine, verdicts, limits, about, Rate(limits.asks), Rate(limits.draws), int(time.time()))
    get, post = partial(Route, methods=["GET"]), partial(Route, methods=["POST"])
    routes = [
        get("/", server.page),
        *(get(path, server.asset) for path in ASSETS),
        get("/api/about", server.told),
        post("/api/ask", server.ask),
        post("/api/draw", server.drawing),
        post("/api/share", server.file),
        get("/v1/models", server.models),
        get("/v1/models/{name}", server.model),
        post("/v1/chat/completions", server.complete),
    ]
    handlers: dict[Any, Any] = {Refused: _refused, UserError: _user_error, HTTPException: _http, Exception: _fault}
    app = Starlette(routes=routes, exception_handlers=handlers)
    return Guard(app, loopback=loopback, names=names, key=key or Key(), public=PUBLIC)


def _folder() -> tempfile.TemporaryDirectory[str]:
    """For the pictures of one question: gone with it."""
    return tempfile.TemporaryDirectory(prefix="textunlearn-", ignore_cleanup_errors=True)


def _before(
    question: Question, side: Side, folder: Path, limits: Limits, now: int
) -> tuple[tuple[Turn, ...], tuple[Path, ...]]:
    """The turns of one side that came before, and their pictures. Refused where these and the ``now`` new ones are too many."""
    turns: list[Turn] = []
    pictures: list[Path] = []
    for one in question.earlier.get(side, ()):
        if one.picture:
            if len(pictures) + now >= limits.pictures:
                raise Refused(
                    400, f"the talk has more than {limits.pictures} pictures; start a new one", param="earlier"
                )
            pictures.append(picture(one.picture, folder, limits))
        content: tuple[str | None, ...] = (*([None] if one.picture else []), *([one.text] if one.text else []))
        turns += [("user", content or ("",)), ("assistant", (one.answer,))]
    return tuple(turns), tuple(pictures)


@contextlib.asynccontextmanager
async def _leaving(request: Request, stream: Stream) -> AsyncIterator[None]:
    """While the block waits for ``stream``: if the client goes away, or the block fails, nobody wants the rest of it."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        stream.leave()

    watching = asyncio.create_task(watch())
    try:
        yield
    except BaseException:
        stream.leave()
        raise
    finally:
        watching.cancel()


def _event(data: Any) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=True)}\n\n".encode()


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _said(error: Exception) -> str:
    """One sentence for a client; of a fault only that there was one, for its words may hold another's."""
    if isinstance(error, UserError | Refused):
        return " ".join(str(error).split())
    print(f"a fault of textunlearn while it answered ({type(error).__name__})", file=sys.stderr)
    return "a fault of the server, not yours; whoever started it finds its kind in the terminal"


async def _refused(request: Request, error: Refused) -> Response:
    return JSONResponse(error.body, error.status, error.headers)


async def _user_error(request: Request, error: UserError) -> Response:
    return await _refused(request, Refused(400, _said(error)))


async def _http(request: Request, error: HTTPException) -> Response:
    what = {404: "there is nothing here", 405: "this address is not asked in this way"}.get(
        error.status_code, error.detail
    )
    return JSONResponse(Refused(error.status_code, what).body, error.status_code, error.headers)


async def _fault(request: Request, error: Exception) -> Response:
    return JSONResponse(Refused(500, _said(error), kind="server_error").body, 500)
