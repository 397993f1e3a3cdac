"""From a run to a listening server."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.endpoint.key import Key
from textunlearn.errors import UserError
from textunlearn.serve.limits import Limits

if TYPE_CHECKING:
    from rich.console import Console
    from uvicorn import Server

    from textunlearn.judges import Judge
    from textunlearn.serve.engine import Engine
    from textunlearn.serve.verdicts import Verdicts
    from textunlearn.vlm.load import Vlm

HOST, PORT = "127.0.0.1", 8000


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server listens, and for whom.

    Attributes:
        port: 0 for any that is free.
        names: host names beside this machine's own that requests may come to.
        key_env: the environment variable with the key that clients must send; None for no key.
    """

    host: str = HOST
    port: int = PORT
    names: tuple[str, ...] = ()
    key_env: str | None = None

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine reaches it."""
        if self.host == "localhost":
            return True
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return False


def listen(place: Place) -> socket.socket:
    """A socket that listens there. UserError where it cannot."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let another program take the port over
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((place.host, place.port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        said = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"the server cannot listen at {place.host} port {place.port}: {said}; choose another --port (0: any) or --host"
        ) from None
    return listening


def key_for(place: Place) -> tuple[Key, str]:
    """The key that clients must send, and where to find it for whoever starts the server: "" if it is in the environment or there is none.

    Beyond this machine there is always one: if none is named, it is made up.
    """
    if place.key_env is not None:
        return Key.read(place.key_env, "--key-env", "the key that clients shall send"), ""
    if place.loopback:
        return Key(), ""
    made = secrets.token_urlsafe(24)
    return Key(made), made


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that listens already, and answers while `run` runs."""

    server: Server
    listening: socket.socket
    engine: Engine
    verdicts: Verdicts

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def run(self) -> None:
        """Until it is told to stop: by a signal, or ``server.should_exit``."""
        self.server.run(sockets=[self.listening])


@contextlib.contextmanager
def serving(vlm: Vlm, judge: Judge, about: dict[str, Any], place: Place, limits: Limits, key: Key) -> Iterator[Ready]:
    """A server that is ready to run, with all that stands behind it; everything is closed afterwards."""
    import uvicorn

    from textunlearn.serve.app import application
    from textunlearn.serve.engine import Engine
    from textunlearn.serve.pair import Pair
    from textunlearn.serve.verdicts import Verdicts

    listening = listen(place)
    with (
        contextlib.closing(listening),
        contextlib.closing(Engine(Pair(vlm), limits)) as engine,
        contextlib.closing(Verdicts(judge)) as verdicts,
    ):
        app = application(
            engine, verdicts, limits, about, loopback=place.loopback, names=(place.host, *place.names), key=key
        )
        config = uvicorn.Config(
            app,  # type: ignore[arg-type]
            log_config=None,
            access_log=False,  # nothing of what is asked is written down
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,  # or any client could choose its address
            limit_concurrency=256,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=2,
        )
        yield Ready(uvicorn.Server(config), listening, engine, verdicts)


def about_run(run: Path, vlm: Vlm, judge: Judge) -> dict[str, Any]:
    """What the page says of a run."""
    from textunlearn.result import stored_recipe

    recipe = stored_recipe(run)
    return {
        "run": recipe.name,
        "model": recipe.model.id,
        "method": recipe.method.name,
        "judge": judge.name,
        "pictures": vlm.image_token_id is not None,
        "precision": str(vlm.embed.weight.dtype).removeprefix("torch."),
        "device": str(vlm.device),
    }


def serve(run: Path, place: Place, judge_name: str, limits: Limits, console: Console) -> None:
    """Serve ``run`` until it is stopped. UserError where it cannot be."""
    if missing := [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]:
        raise UserError(f"the server needs {' and '.join(missing)}; run `pip install 'textunlearn[serve]'`")
    from textunlearn.judges.spec import fetch_needs, make
    from textunlearn.result import adapter_of, load_both

    judge = make(judge_name)
    key, made = key_for(place)
    adapter_of(run)
    fetch_needs(judge, console)
    with console.status("loading the model"):
        vlm = load_both(run)
        stack = contextlib.ExitStack()
        ready = stack.enter_context(serving(vlm, judge, about_run(run, vlm, judge), place, limits, key))
    with stack:
        for line in said_at_start(place, ready.port, made):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        with contextlib.suppress(KeyboardInterrupt):  # how a server is stopped
            ready.run()
    console.print("stopped", markup=False)


def said_at_start(place: Place, port: int, made: str) -> Sequence[str]:
    """Where the server is found, and with which key."""
    host = "localhost" if place.host in ("0.0.0.0", "::") else f"[{place.host}]" if ":" in place.host else place.host
    root = f"http://{host}:{port}"
    lines = [
        f"chat page:  {root}/{f'#key={made}' if made else ''}",
        f"OpenAI API: {root}/v1  (models: original, aligned)",
    ]
    if made:
        lines.append(f"key:        {made}  (give another by --key-env; use TLS or a tunnel where others may listen)")
    return [*lines, "Ctrl-C stops it."]


def limits_of(tokens: int, a_minute: int) -> Limits:
    """The default limits but for these."""
    return replace(Limits(), tokens=tokens, asks=a_minute)
