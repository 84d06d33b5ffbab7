"""One HTTP exchange with a KFP server: auth, timeouts, bounded bodies, and what a failure means.

Everything above (REST calls, gRPC-web calls) speaks through ``Exchange``; retries are above too. What spares
the server is asked here, before each request.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from bridge.domain.tracing import TRACEPARENT
from bridge.kfp_api.auth import Bearer
from bridge.kfp_api.errors import (
    Answer,
    KfpBadAnswer,
    KfpBadUrl,
    KfpError,
    KfpInvalid,
    KfpUnreachable,
    error_from_answer,
)
from bridge.kfp_api.guard import Guard, Part

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MAX_ERROR_BYTES = 256 * 1024
# A connection that the server closes while idle makes the next request fail ambiguously; servers
# commonly keep theirs for five seconds and more.
_KEEPALIVE_SECONDS = 3.0


@dataclass(slots=True)
class Spent:
    """Seconds that a server was kept busy by the requests of one caller."""

    seconds: float = 0.0


_SPENT: ContextVar[Spent | None] = ContextVar("spent", default=None)
_TRACEPARENT: ContextVar[str | None] = ContextVar("traceparent", default=None)


@contextmanager
def counting_seconds() -> Iterator[Spent]:
    """Count what the requests sent inside the block take: each from its first byte to the answer's last,
    without waits for a turn or between repetitions, and without what this machine does with the answer."""
    spent = Spent()
    before = _SPENT.set(spent)
    try:
        yield spent
    finally:
        _SPENT.reset(before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked: ``path`` is below the base URL, whose own path is kept.

    ``once`` marks a request that must not be made ambiguous by a connection that went stale: it
    gets a connection of its own. ``url`` replaces base URL and path where a service lives elsewhere.
    ``silence_seconds`` is how long a stream may say nothing, if not as long as any other answer.
    ``max_bytes`` bounds the answer more narrowly than ``MAX_ANSWER_BYTES``.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    files: Mapping[str, tuple[str, bytes, str]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    once: bool = False
    url: str | None = None
    silence_seconds: float | None = None
    max_bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@contextmanager
def carrying(traceparent: str | None) -> Iterator[None]:
    """What is sent in the block carries the header ``traceparent``, if there is one."""
    before = _TRACEPARENT.set(traceparent)
    try:
        yield
    finally:
        _TRACEPARENT.reset(before)


def check_base_url(url: str) -> str:
    """The URL without a trailing slash, or ``KfpBadUrl`` saying what is wrong with it.

    A path is kept, as in ``https://host/pipeline``; a ``/apis/v2beta1`` at its end is taken off.
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise KfpBadUrl(f"{text!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise KfpBadUrl(f"{text!r} has to begin with http:// or https://")
    if not parts.hostname or any(character.isspace() for character in text):
        raise KfpBadUrl(f"{text!r} names no host")
    if parts.username is not None or parts.password is not None:
        raise KfpBadUrl("the URL holds a user or password; give a token instead")
    if parts.query or parts.fragment:
        raise KfpBadUrl(f"{text!r} is a page's address: leave out what follows '?' or '#'")
    if port == 0:
        raise KfpBadUrl(f"{text!r} names port 0")
    return text.rstrip("/").removesuffix("/apis/v2beta1").rstrip("/")


class Exchange:
    """Sends requests one at a time or many at once; close it with ``aclose``."""

    def __init__(
        self,
        base_url: str,
        *,
        token: Bearer | None,
        timeout_seconds: float,
        transport: httpx.AsyncBaseTransport | None,
        headers: Mapping[str, str],
        ca: str | ssl.SSLContext | None,
        guard: Guard | None = None,
    ) -> None:
        self.guard = guard
        self.base_url = check_base_url(base_url)
        self._token = token
        self._timeout_seconds = timeout_seconds
        # Not reaching the server has to show as that before the bound on the whole cuts in as ambiguous.
        half = timeout_seconds / 2
        timeout = httpx.Timeout(timeout_seconds, connect=min(5.0, half), pool=half)
        shared: dict[str, Any] = {"timeout": timeout, "headers": dict(headers), "follow_redirects": False}
        if transport is not None:
            self._client = self._once = httpx.AsyncClient(transport=transport, **shared)
            return
        shared["verify"] = _trusted(ca)
        shared["trust_env"] = self.trusts_environment
        kept = httpx.Limits(keepalive_expiry=_KEEPALIVE_SECONDS)
        self._client = httpx.AsyncClient(limits=kept, **shared)
        self._once = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0), **shared)

    @property
    def trusts_environment(self) -> bool:
        """Whether proxies that the environment names are used: they cannot reach this machine's loopback."""
        return not _is_loopback(self.base_url)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._client.aclose()
        if self._once is not self._client:
            await self._once.aclose()

    async def send(self, request: Request) -> Answer:
        """The whole answer to a request, if it is 2xx. Raises a ``KfpError`` for everything else.

        After a 401 the token is read again and the request sent once more: it had been refused.
        """
        async with self._asking(request):
            return await self._send(request)

    def _asking(self, request: Request) -> AbstractAsyncContextManager[None]:
        """Every request passes here, so that all who talk to the server spare it together."""
        if self.guard is None:
            return nullcontext()
        part: Part = "metadata" if request.path.startswith("/ml_metadata.") else "api"
        # A POST whose answer is lost costs minutes: it is not what finds out whether the server is back.
        return self.guard.asking(part, str(request), may_probe=not request.once)

    async def _send(self, request: Request) -> Answer:
        # Tokens are got before the clock starts: time spent on them says nothing of a request's fate.
        kwargs = await self._kwargs(request)
        answer = await self._send_bounded(request, kwargs)
        if answer.status == 401 and await self._has_another(kwargs):
            answer = await self._send_bounded(request, await self._kwargs(request))
        if not 200 <= answer.status < 300:
            raise error_from_answer(answer)
        return answer

    async def _send_bounded(self, request: Request, kwargs: Mapping[str, Any]) -> Answer:
        try:
            # httpx bounds each read; a server that sends a byte now and then needs a bound on the whole.
            async with asyncio.timeout(self._timeout_seconds):
                return await self._send_once(request, kwargs)
        except TimeoutError as error:
            message = f"no whole answer within {self._timeout_seconds:g} s"
            raise KfpUnreachable(message, sent=True, request=str(request)) from error

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's body piece by piece, for logs; one that says nothing for too long is ended."""
        async with self._asking(request):
            response = await self._begin(request)
        try:
            yield _pieces(response, str(request))
        except httpx.HTTPError as error:
            raise _unreachable(error, str(request)) from error
        finally:
            await response.aclose()

    async def _begin(self, request: Request) -> httpx.Response:
        """A response that is 2xx, its body not read yet."""
        kwargs = await self._kwargs(request)
        response = await self._open(request, kwargs)
        if response.status_code == 401 and await self._has_another(kwargs):
            await response.aclose()
            response = await self._open(request, await self._kwargs(request))
        if response.is_success:
            return response
        try:
            answer = await _read(response, str(request), _MAX_ERROR_BYTES)
        except httpx.HTTPError as error:
            raise _unreachable(error, str(request)) from error
        finally:
            await response.aclose()
        raise error_from_answer(answer)

    async def _open(self, request: Request, kwargs: dict[str, Any]) -> httpx.Response:
        if request.silence_seconds is not None:
            kwargs["timeout"] = httpx.Timeout(self._timeout_seconds, read=request.silence_seconds)
        built = self._client.build_request(request.method, self._url(request), **kwargs)
        try:
            return await self._client.send(built, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(error, str(request)) from error

    async def _send_once(self, request: Request, kwargs: Mapping[str, Any]) -> Answer:
        client = self._once if request.once else self._client
        url = self._url(request)
        began = time.monotonic()
        try:
            async with client.stream(request.method, url, **kwargs) as response:
                most = request.max_bytes or MAX_ANSWER_BYTES
                limit = most if response.is_success else _MAX_ERROR_BYTES
                return await _read(response, str(request), limit)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(error, str(request)) from error
        finally:
            spent = _SPENT.get()
            if spent is not None:
                spent.seconds += time.monotonic() - began

    def _url(self, request: Request) -> str:
        return request.url if request.url is not None else self.base_url + request.path

    async def _has_another(self, refused: Mapping[str, Any]) -> bool:
        """Whether there is another token than that of a request that was refused."""
        if self._token is None:
            return False
        return await self._token.renewed(refused["headers"]["Authorization"].removeprefix("Bearer "))

    async def _kwargs(self, request: Request) -> dict[str, Any]:
        headers = dict(request.headers)
        if (traceparent := _TRACEPARENT.get()) is not None:
            headers[TRACEPARENT] = traceparent
        if self._token is not None:
            headers["Authorization"] = f"Bearer {await self._token.current()}"
        kwargs: dict[str, Any] = {"headers": headers, "params": dict(request.params) or None}
        if request.files is not None:
            kwargs["files"] = dict(request.files)
        elif request.content is not None:
            kwargs["content"] = request.content
        elif request.json is not None:
            kwargs["json"] = request.json
        return kwargs


def _trusted(ca: str | ssl.SSLContext | None) -> ssl.SSLContext | bool:
    if not isinstance(ca, str):
        return True if ca is None else ca
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise KfpError(f"the file of certificate authorities {ca} cannot be used: {error}") from error


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _read(response: httpx.Response, request: str, limit: int) -> Answer:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > limit:
            if not response.is_success:
                break
            raise KfpBadAnswer(
                f"an answer of more than {limit} bytes", status=response.status_code, request=request
            )
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, bytes(body[:limit]), request)


async def _pieces(response: httpx.Response, request: str) -> AsyncIterator[bytes]:
    try:
        async for piece in response.aiter_bytes():
            yield piece
    except httpx.HTTPError as error:
        raise _unreachable(error, request) from error


# Raised before the request's first byte left: the connection was never there.
_BEFORE_SENDING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


def _unreachable(error: Exception, request: str) -> KfpError:
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.InvalidURL):
        return KfpInvalid(f"cannot be sent: {text}", request=request)
    if isinstance(error, httpx.DecodingError):
        return KfpBadAnswer(f"the answer's encoding is broken: {text}", cut=True, request=request)
    return KfpUnreachable(text, sent=not isinstance(error, _BEFORE_SENDING), request=request)
