"""Requests to addresses that callers name, over real connections: what was judged is what is connected to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from bridge.domain.lineage import ContentState
from bridge.service.contents import Contents
from bridge.service.outgoing import AddressRefused, Outgoing
from bridge.service.settings import ServiceSettings


@dataclass
class Server:
    """Answers every request with the same bytes, and remembers the requests; without ``ends`` it goes on."""

    answer: bytes
    ends: bool = True
    requests: list[bytes] = field(default_factory=list)
    port: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            while not self.ends:
                await writer.drain()
                writer.write(b"x" * 65536)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The caller has heard enough.
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Server, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    listening = await asyncio.start_server(server, host, server.port)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


@dataclass
class Resolver:
    """Has another answer each time that it is asked, as the owner of a name may."""

    answers: list[list[str]]
    asked: int = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


def guard(resolver: Resolver, *, private: bool = True, timeout_seconds: float = 5.0) -> Outgoing:
    return Outgoing(timeout_seconds=timeout_seconds, private=private, resolve=resolver)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def test_a_name_that_changes_its_meaning_is_asked_at_the_address_that_was_judged() -> None:
    async with serving(Server(OK)) as meant, serving(Server(OK, port=meant.port), "127.0.0.2") as inner:
        resolver = Resolver([["127.0.0.1"], ["127.0.0.2"]])
        async with guard(resolver) as outgoing:
            url = f"http://rebound.example:{meant.port}/x"
            assert (await outgoing.post(url, b"{}", {})).text == "hi"
    assert (len(meant.requests), inner.requests, resolver.asked) == (1, [], 1)
    assert f"host: rebound.example:{meant.port}".encode() in meant.requests[0].lower()


@pytest.mark.parametrize("found", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"]])
async def test_a_name_that_means_this_machine_is_not_connected_to(found: list[str]) -> None:
    async with serving(Server(OK)) as server, guard(Resolver([found]), private=False) as outgoing:
        with pytest.raises(AddressRefused, match="webhook_private_addresses"):
            await outgoing.post(f"http://inner.example:{server.port}/", b"{}", {})
    assert server.requests == []


async def test_the_next_address_is_asked_if_nobody_listens_at_the_first() -> None:
    async with serving(Server(OK)) as server:
        async with guard(Resolver([["127.0.0.3", "127.0.0.1"]])) as outgoing:
            assert (await outgoing.post(f"http://two.example:{server.port}/", b"{}", {})).status == 200
        async with guard(Resolver([["127.0.0.3"]])) as outgoing:
            with pytest.raises(httpx.ConnectError):
                await outgoing.post(f"http://none.example:{server.port}/", b"{}", {})


async def test_a_redirect_is_told_and_not_followed() -> None:
    async with serving(Server(OK)) as inner:
        moved = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{inner.port}/\r\nContent-Length: 0\r\n\r\n"
        async with serving(Server(moved.encode())) as outer, guard(Resolver([["127.0.0.1"]])) as outgoing:
            assert (await outgoing.post(f"http://outer.example:{outer.port}/", b"{}", {})).status == 302
    assert inner.requests == []


async def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    endless = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", ends=False)
    async with serving(endless), guard(Resolver([["127.0.0.1"]])) as outgoing:
        assert len((await outgoing.post(f"http://long.example:{endless.port}/", b"{}", {})).text) == 2048


async def test_an_answer_that_does_not_come_is_given_up_in_time() -> None:
    async with serving(Server(b"HTTP/1.1 200 OK\r\nX-Slow: ")) as silent:
        # The header never ends, and the connection stays.
        silent.ends = False
        silent.answer = b"HTTP/1.1 200 OK\r\nX-Slow:"
        began = time.monotonic()
        async with guard(Resolver([["127.0.0.1"]]), timeout_seconds=0.3) as outgoing:
            with pytest.raises((TimeoutError, httpx.HTTPError)):
                await outgoing.post(f"http://slow.example:{silent.port}/", b"{}", {})
        assert time.monotonic() - began < 4


async def test_an_artifact_at_an_http_address_is_looked_for_through_the_same_guard() -> None:
    async with serving(Server(OK)) as server:
        here = f"http://127.0.0.1:{server.port}/model"
        settings = ServiceSettings(content_hosts=("127.0.0.1", "169.254.169.254"))
        async with Contents(settings) as contents:
            found = await contents.look(here)
            metadata = await contents.look("http://169.254.169.254/latest/meta-data")
            elsewhere = await contents.look(f"http://localhost:{server.port}/model")
    assert found is not None
    assert found.state is ContentState.AVAILABLE
    assert metadata is not None
    assert "link-local" in (metadata.error or "")
    assert elsewhere is None
    assert len(server.requests) == 1


async def test_a_connection_made_for_one_name_is_not_used_for_another() -> None:
    connections = 0

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(OK)
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # The caller went away.
        finally:
            writer.close()

    listening = await asyncio.start_server(answering, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        async with guard(Resolver([["127.0.0.1"]])) as outgoing:
            for name in ("one.example", "other.example"):
                assert (await outgoing.get(f"http://{name}:{port}/", {})).text == "hi"
    finally:
        listening.close()
    assert connections == 2
