"""Who may ask: the right host name, no other site's page, the key where there is one; and what browsers are told of every answer."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textunlearn.endpoint.key import Key
from textunlearn.serve.limits import Refused

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No script but the page's file, none in the page, and none made of words."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
LOCAL = ("localhost", "127.0.0.1", "::1")


class Guard:
    """ASGI middleware.

    Args:
        loopback: the server listens for this machine alone; then no other machine's name or address is right.
        names: further host names that are right. Addresses are right where the server listens for others: a page of another site can
            make its *name* lead here (DNS rebinding), but not an address.
        key: what every request but those of the page's own files must carry, if there is one.
        public: paths that need no key: they hold nothing of the run.
    """

    def __init__(
        self, app: ASGIApp, *, loopback: bool, names: Collection[str], key: Key, public: Collection[str] = ()
    ) -> None:
        self.app, self.loopback, self.key = app, loopback, key
        self.names = {name.lower() for name in (*LOCAL, *names)}
        self.public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets here

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            self.check(Headers(scope=scope), scope["path"])
        except Refused as refused:
            await JSONResponse(refused.body, refused.status, refused.headers)(scope, receive, with_headers)
            return
        with contextlib.suppress(
            Exception
        ):  # it has been answered; uvicorn would write its words down, and they may be a client's
            await self.app(scope, receive, with_headers)

    def check(self, headers: Headers, path: str) -> None:
        """Refused for a request that is not from where it may be."""
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""
        if not self._right(_name(host)):
            raise Refused(
                403,
                f"this server is not called {host[:80]!r}; use its own address, or start it with --name for further names",
                kind="permission_error",
                code="wrong_host",
            )
        origin = headers.get("origin")
        foreign = origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}")
        if foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            # A link from elsewhere to the page is fine: a person follows it, and it carries nothing.
            if not foreign and path in self.public and headers.get("sec-fetch-mode") == "navigate":
                return
            raise Refused(
                403, "pages of other sites may not ask this server", kind="permission_error", code="wrong_origin"
            )
        if self.key and path not in self.public and not self.key.opens(headers.get("authorization", "")):
            raise Refused(
                401,
                "this server wants its key, as `Authorization: Bearer KEY`; whoever started it has it",
                kind="authentication_error",
                code="invalid_api_key",
            )

    def _right(self, name: str) -> bool:
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.loopback


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]
