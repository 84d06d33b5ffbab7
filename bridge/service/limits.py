"""Limits that hold before a request is understood: the size of its body, and headers on every answer."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.domain.hosts import host_of, is_known_host
from bridge.service.problems import ProblemError, problem_response


def security_headers(framed_by: str | None, *, style_nonce: str | None = None) -> list[tuple[bytes, bytes]]:
    """The headers; pages may be shown in frames of the service's own and of the site of the address.
    ``style_nonce`` lets in the style elements that carry it, for a page whose script makes some."""
    parts = urlsplit(framed_by or "")
    # A policy is a list with separators of its own: only what can be a host may get into it.
    site = f" {parts.scheme}://{parts.netloc}" if _SITE.fullmatch(parts.netloc) else ""
    styles = f"; style-src 'self' 'nonce-{style_nonce}'" if style_nonce else ""
    policy = f"default-src 'self'{styles}; frame-ancestors 'self'{site}; base-uri 'none'; form-action 'self'"
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
    ]


_SITE = re.compile(r"[A-Za-z0-9.\-\[\]:]+")
_TOLD_CHARACTERS = 100
_BY_SESSION = "by_session"


class _BodyTooLarge(Exception):
    """The body grew beyond the limit while it was read."""


class BodyLimit:
    """Refuse bodies above ``max_bytes`` with 413: by their announced length, or as they come in."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        started = False
        size = 0

        async def counted_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_bytes:
                raise _BodyTooLarge
            return message

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, counted_receive, watched_send)
        except _BodyTooLarge:
            if started:
                raise
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"the body of the request is larger than {self._max_bytes:,} bytes"
        await problem_response(ProblemError("too-large", text))(scope, receive, send)


class PlainTarget:
    """Refuse a path or a query with a NUL character, which no database takes and nothing is called by."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless its target holds one."""
        app = self._app
        if scope["type"] == "http" and ("\x00" in scope["path"] or b"%00" in scope["query_string"]):
            app = problem_response(ProblemError("invalid-request", "the address holds a NUL character"))
        await app(scope, receive, send)


class WithoutPrefix:
    """Answer below the path of ``public_url``, too: some proxies leave it in front, others take it off."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without it."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path == self._prefix or path.startswith(f"{self._prefix}/"):
                scope = {**scope, "path": path[len(self._prefix) :] or "/"}
        await self._app(scope, receive, send)


class KnownHosts:
    """Refuse a request that was meant for a host of another name: a page may have had that name changed to
    mean this address (DNS rebinding), and would read and change whatever its reader may."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if its ``Host`` is one of the service's."""
        app = self._app
        if scope["type"] == "http":
            asked = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            # Nothing in it: a program of the days before there were names, and no browser.
            if asked and not is_known_host(asked, self._names):
                told = (
                    f"this bridge is not known as {host_of(asked)[:_TOLD_CHARACTERS]!r}; if it should be, "
                    "add the name to the setting allowed_hosts (KFBRIDGE_ALLOWED_HOSTS)"
                )
                app = problem_response(ProblemError("unknown-host", told))
        await app(scope, receive, send)


class SecurityHeaders:
    """Add the headers that keep pages from running or loading what is not the service's own, and what a
    session was answered from being shown to whoever has the browser next.

    ``framed_by`` is the address of a site that may show pages in a frame: Airflow's.
    """

    def __init__(self, app: ASGIApp, framed_by: str | None = None) -> None:
        self._app = app
        self._headers = security_headers(framed_by)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and complete its answer's headers."""

        async def completing_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                missing = [item for item in self._complete(scope) if item[0] not in present]
                message = {**message, "headers": [*message["headers"], *missing]}
            await send(message)

        await self._app(scope, receive, completing_send if scope["type"] == "http" else send)

    def _complete(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        by_session = scope.get("state", {}).get(_BY_SESSION, False)
        # Not no-store: a page's first question is asked ahead, and its answer taken once.
        return [*self._headers, (b"cache-control", b"private, no-cache")] if by_session else self._headers


def note_session(request: HTTPConnection) -> None:
    """Tell that the request is let in by the cookie of a session."""
    setattr(request.state, _BY_SESSION, True)
