"""A proxy before a backend that misbehaves as a test tells it to, on a loopback port of its own.

It runs on an event loop in a thread. A test says ``proxy.when("POST", r"/runs$", lose_answer())``; the next
matching request meets that fault, everything else passes. ``seen`` holds every request, and whether it was
handed on to the backend: that is how tests know what a backend was really asked.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

_MAX_HEAD_BYTES = 64 * 1024
_HOP_HEADERS = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "host", "content-length", "expect"}
)
_DROPPED_ANSWER_HEADERS = _HOP_HEADERS | {"content-encoding", "date", "server"}
# On close the kernel sends RST in place of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_GATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, whole."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(slots=True)
class Seen:
    """A request as it came. ``forwarded`` counts how often it was handed on, ``status`` is what was answered
    (``None``: nothing was), ``at`` when it came, by the monotonic clock."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    forwarded: int = 0
    status: int | None = None

    @property
    def run_id(self) -> str | None:
        """The id that a POST of a run carries."""
        if self.method != "POST" or not self.path.endswith("/apis/v2beta1/runs"):
            return None
        value: str | None = json.loads(self.body).get("run_id")
        return value


Fault = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Rule:
    """A fault and the requests that meet it; ``left`` counts down, ``None`` is for ever."""

    method: str
    pattern: re.Pattern[str]
    fault: Fault
    left: int | None
    met: int = 0

    def takes(self, seen: Seen) -> bool:
        """Whether the request meets the fault now."""
        return self.left != 0 and seen.method == self.method and self.pattern.search(seen.path) is not None


class Exchange:
    """One request and its answer, in the hands of a fault."""

    def __init__(self, proxy: FaultProxy, seen: Seen, writer: asyncio.StreamWriter, target: str) -> None:
        self.seen = seen
        self._proxy = proxy
        self._writer = writer
        self._target = target

    async def forward(self) -> Answer:
        """Let the backend do what is asked; its answer. One that cannot be reached answers 502."""
        self.seen.forwarded += 1
        headers = {name: value for name, value in self.seen.headers.items() if name not in _HOP_HEADERS}
        if self._proxy.backend_token is not None:
            headers["authorization"] = f"Bearer {self._proxy.backend_token}"
        try:
            told = await self._proxy.http.request(
                self.seen.method, self._proxy.target + self._target, content=self.seen.body, headers=headers
            )
        except httpx.HTTPError as error:
            return error_answer(502, f"the backend cannot be reached: {error!r}")
        kept = tuple((k, v) for k, v in told.headers.items() if k not in _DROPPED_ANSWER_HEADERS)
        return Answer(told.status_code, told.content, kept)

    async def answer(self, answer: Answer, *, announce: int | None = None) -> None:
        """Send an answer; ``announce`` is a Content-Length other than its own."""
        length = len(answer.body) if announce is None else announce
        lines = [f"HTTP/1.1 {answer.status} -", *(f"{name}: {value}" for name, value in answer.headers)]
        lines += [f"content-length: {length}", "connection: close", "", ""]
        self._writer.write("\r\n".join(lines).encode("latin-1") + answer.body)
        await self._writer.drain()
        self.seen.status = answer.status

    async def stream(self) -> None:
        """Let the backend do what is asked, and hand its answer on as it comes, for as long as it comes."""
        self.seen.forwarded += 1
        headers = {name: value for name, value in self.seen.headers.items() if name not in _HOP_HEADERS}
        url = self._proxy.target + self._target
        try:
            async with self._proxy.http.stream("GET", url, headers=headers, timeout=None) as told:
                kept = [f"{k}: {v}" for k, v in told.headers.items() if k not in _DROPPED_ANSWER_HEADERS]
                lines = [f"HTTP/1.1 {told.status_code} -", *kept, "connection: close", "", ""]
                self._writer.write("\r\n".join(lines).encode("latin-1"))
                self.seen.status = told.status_code
                async for chunk in told.aiter_raw():
                    self._writer.write(chunk)
                    await self._writer.drain()
        except httpx.HTTPError:
            self.reset()

    def reset(self) -> None:
        """Break the connection off."""
        connection: socket.socket = self._writer.get_extra_info("socket")
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()


class Gate:
    """Something a request waits at until the test opens it; usable from both threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._opened = asyncio.Event()
        self._reached = threading.Event()

    def open(self) -> None:
        """Let through whoever waits or comes."""
        self._loop.call_soon_threadsafe(self._opened.set)

    @property
    def is_reached(self) -> bool:
        """Whether a request has come to it."""
        return self._reached.is_set()

    def wait_reached(self, seconds: float = _GATE_SECONDS) -> None:
        """Return once a request waits here; raises ``TimeoutError``."""
        if not self._reached.wait(seconds):
            raise TimeoutError(f"nothing came to the gate within {seconds:g} s")

    async def passage(self) -> None:
        """Wait, on the proxy's loop, until it is open."""
        self._reached.set()
        await self._opened.wait()


class FaultProxy:
    """See the module. ``target`` may be changed at any time.

    With ``token`` set it is the gateway that checks tokens: others get 401, and the backend gets
    ``backend_token``.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.token: str | None = None
        self.backend_token: str | None = None
        self.seen: list[Seen] = []
        self._rules: list[Rule] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy")
        self._listener: socket.socket | None = None
        # Taken, but not yet begun with.
        self._unserved: set[socket.socket] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._port = 0
        self.http = httpx.AsyncClient(timeout=120, trust_env=False)

    @property
    def url(self) -> str:
        """Where clients reach the backend through the proxy."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen; the port stays the same over ``close_door`` and ``open_door``."""
        self._thread.start()
        self._call(self._listen())

    def stop(self) -> None:
        """Break every connection off and end the thread."""
        self._call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def close_door(self) -> None:
        """Refuse connections, as a host does on which nothing listens."""
        self._call(self._close_door())

    def open_door(self) -> None:
        """Take connections again."""
        self._call(self._listen())

    def gate(self) -> Gate:
        """A gate for a fault to wait at."""
        return Gate(self._loop)

    def when(self, method: str, pattern: str, fault: Fault, *, times: int | None = 1) -> Rule:
        """Let the next ``times`` requests whose method and path (without query) match meet the fault.

        The rule that was made last goes first.
        """
        rule = Rule(method, re.compile(pattern), fault, times)
        self._rules.insert(0, rule)
        return rule

    def behave(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def requests(self, method: str, pattern: str) -> list[Seen]:
        """The requests so far whose method and path match."""
        found = re.compile(pattern)
        return [seen for seen in list(self.seen) if seen.method == method and found.search(seen.path)]

    def posted_runs(self) -> dict[str, int]:
        """How often a POST of each run id was handed on to the backend."""
        counts: dict[str, int] = {}
        for seen in list(self.seen):
            if seen.run_id is not None:
                counts[seen.run_id] = counts.get(seen.run_id, 0) + seen.forwarded
        return counts

    def _call(self, work: Any) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result(30)

    async def _listen(self) -> None:
        # Not asyncio's server: closing that one loses connections which it is just accepting.
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=128)
        self._listener.setblocking(False)
        self._port = self._listener.getsockname()[1]
        self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        # In one step: a coroutine that is cancelled between accepting and taking loses the connection.
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.setblocking(False)
        self._unserved.add(connection)
        task = self._loop.create_task(self._connected(connection))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _close_door(self) -> None:
        if self._listener is None:
            return
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = None

    async def _shut(self) -> None:
        await self._close_door()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        for connection in self._unserved:
            connection.close()
        await self.http.aclose()

    async def _connected(self, connection: socket.socket) -> None:
        self._unserved.discard(connection)
        reader, writer = await asyncio.open_connection(sock=connection, limit=_MAX_HEAD_BYTES)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The other side hung up, or the proxy stops: nobody is left to be told.
            writer.transport.abort()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        body = await _body(reader, headers)
        seen = Seen(method, unquote(urlsplit(target).path), headers, body, time.monotonic())
        self.seen.append(seen)
        exchange = Exchange(self, seen, writer, target)
        rule = next((rule for rule in self._rules if rule.takes(seen)), None)
        if rule is not None:
            rule.met += 1
            rule.left = None if rule.left is None else rule.left - 1
            await rule.fault(exchange)
        elif self.token is not None and headers.get("authorization") != f"Bearer {self.token}":
            await exchange.answer(error_answer(401, "Unauthenticated: the token is not valid", code=16))
        else:
            await exchange.answer(await exchange.forward())


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


def error_answer(
    status: int, message: str, *, code: int = 13, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error in KFP's shape; ``headers`` are named with underscores."""
    body = {"error": message, "code": code, "message": message, "details": []}
    extra = tuple((name.replace("_", "-"), value) for name, value in (headers or {}).items())
    return Answer(status, json.dumps(body).encode(), (("content-type", "application/json"), *extra))


def status(code: int, **headers: str) -> Fault:
    """Answer so without asking the backend, such as ``status(429, retry_after="2")``."""

    async def fault(exchange: Exchange) -> None:
        await exchange.answer(error_answer(code, f"as the test wants it: {code}", headers=headers))

    return fault


def streams() -> Fault:
    """No fault: an answer that has no end, such as server-sent events, passes."""

    async def fault(exchange: Exchange) -> None:
        await exchange.stream()

    return fault


def answers(answer: Answer) -> Fault:
    """Answer so without asking the backend."""

    async def fault(exchange: Exchange) -> None:
        await exchange.answer(answer)

    return fault


def login_page() -> Fault:
    """What a gateway shows whom it does not know: HTML, with 200."""
    page = b"<!doctype html><html><head><title>Log in</title></head><body><form></form></body></html>"
    return answers(Answer(200, page, (("content-type", "text/html; charset=utf-8"),)))


def reset() -> Fault:
    """Break off before the backend hears of it."""

    async def fault(exchange: Exchange) -> None:
        exchange.reset()

    return fault


def lose_answer() -> Fault:
    """Let the backend do it, and break off before it can say so."""

    async def fault(exchange: Exchange) -> None:
        await exchange.forward()
        exchange.reset()

    return fault


def hang(gate: Gate, *, holding: str = "") -> Fault:
    """Let the backend do it, and keep the answer until the gate opens: the first one that holds this text."""

    async def fault(exchange: Exchange) -> None:
        answer = await exchange.forward()
        if holding.encode() in answer.body and not gate.is_reached:
            await gate.passage()
        await exchange.answer(answer)

    return fault


def hold(gate: Gate) -> Fault:
    """Let the backend hear of it only when the gate opens."""

    async def fault(exchange: Exchange) -> None:
        await gate.passage()
        await exchange.answer(await exchange.forward())

    return fault


def cut(at: float, *, framed: bool) -> Fault:
    """Let the backend do it, and send that share of its answer's bytes; ``framed`` as if that were all of it,
    otherwise announced whole and broken off."""

    async def fault(exchange: Exchange) -> None:
        whole = await exchange.forward()
        part = Answer(whole.status, whole.body[: int(len(whole.body) * at)], whole.headers)
        await exchange.answer(part, announce=None if framed else len(whole.body))

    return fault


def edit(change: Callable[[Any], Any]) -> Fault:
    """Let the backend do it, and change the JSON that it answers."""

    async def fault(exchange: Exchange) -> None:
        whole = await exchange.forward()
        await exchange.answer(Answer(whole.status, json.dumps(change(whole.json())).encode()))

    return fault


def run_late(gate: Gate, code: int = 500) -> Fault:
    """Answer with an error at once, and let the backend do it all the same when the gate opens."""

    async def fault(exchange: Exchange) -> None:
        await exchange.answer(error_answer(code, "the row could not be written"))
        await gate.passage()
        await exchange.forward()

    return fault


@contextmanager
def fault_proxy(target: str) -> Iterator[FaultProxy]:
    """A proxy before ``target``, stopped at the end of the block."""
    proxy = FaultProxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
