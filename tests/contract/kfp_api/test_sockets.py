"""What happens on real sockets: who is reached, what was sent, which token counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.kfp_api import errors
from bridge.kfp_api.auth import TokenSource
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.messages import Run
from bridge.kfp_api.retry import RetryPolicy
from tests.contract.kfp_api.conftest import StartLocal

ONCE = RetryPolicy(attempts=1)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(serve: Serve) -> AsyncIterator[str]:
    """A server on a free loopback port that does with each connection what the test wants."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        await server.wait_closed()


def answer(body: bytes, length: int | None = None) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length or len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def test_a_refused_connection_sent_nothing() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nobody is reached here")

    async with raw_server(never) as url:
        closed = url
    async with KfpClient(closed, retry=ONCE) as client:
        with pytest.raises(errors.KfpUnreachable) as caught:
            await client.create_run(Run(display_name="x"))
    assert caught.value.sent is False


async def test_a_server_that_hangs_up_may_have_read_it() -> None:
    heard: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))

    async with raw_server(hang_up) as url, KfpClient(url) as client:
        with pytest.raises(errors.KfpUnreachable) as caught:
            await client.create_run(Run(display_name="x"))
    assert caught.value.sent is True
    assert len(heard) == 1


async def test_an_answer_that_is_cut_may_have_had_an_effect() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b'{"run_id": "a', length=100))
        await writer.drain()

    async with raw_server(half) as url, KfpClient(url) as client:
        with pytest.raises(errors.KfpUnreachable) as caught:
            await client.create_run(Run(display_name="x"))
    assert caught.value.sent is True


async def test_a_server_that_says_nothing_is_given_up() -> None:
    done = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()

    async with raw_server(silent) as url, KfpClient(url, timeout_seconds=0.2) as client:
        with pytest.raises(errors.KfpUnreachable) as caught:
            await client.create_run(Run(display_name="x"))
        done.set()
    assert caught.value.sent is True


async def test_a_run_gets_a_connection_of_its_own() -> None:
    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.read(65536):
            writer.write(answer(b'{"run_id": "x"}'))
            await writer.drain()

    async with raw_server(count) as url, KfpClient(url) as client:
        await client.healthz()
        await client.healthz()
        assert connections == 1
        await client.create_run(Run(display_name="x"))
        await client.create_run(Run(display_name="x"))
        assert connections == 3


async def test_without_the_token_nobody_is_let_in(start_local: StartLocal, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("wrong\n")
    with start_local(token="right") as url:
        async with KfpClient(url) as nobody:
            await nobody.healthz()
            with pytest.raises(errors.KfpAuthError) as caught:
                await nobody.list_runs()
            assert caught.value.status == 401
        async with KfpClient(url, token=TokenSource.from_file(path)) as client:
            with pytest.raises(errors.KfpAuthError):
                await client.list_runs()
            path.write_text("right\n")
            assert (await client.list_runs()).runs == []
