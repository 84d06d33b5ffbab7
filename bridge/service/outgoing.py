"""Requests to addresses that callers named: resolved first, judged, and only then connected to.

Whoever may name an address could otherwise make the service ask what only the service can reach: a
database's port, a cloud's metadata. The name is resolved once, each address it has must be allowed, and the
connection goes to the very address that was judged, so that a name cannot change its meaning in between.
Redirects are not followed, and of an answer only the beginning is read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

_MOST_ANSWER_BYTES = 2048
_MOST_CONNECTIONS = 100
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(Exception):
    """The address must not be asked; the text says why and what would allow it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, headers, and the beginning of the text."""

    status: int
    headers: Mapping[str, str]
    text: str


def address_problem(address: Address, *, private: bool) -> str | None:
    """Why an address must not be connected to; ``private`` lets the networks of one's own in."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return address_problem(mapped, private=private)
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return f"{address} is link-local, multicast or unspecified"
    if not private and not address.is_global:
        return f"{address} is a private address (webhook_private_addresses allows these)"
    return None


class Outgoing:
    """Sends POSTs to addresses that callers named. Use it as an ``async with`` block."""

    def __init__(
        self, *, timeout_seconds: float, private: bool, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._private = private
        self._client = httpx.AsyncClient(
            timeout=timeout_seconds,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
            limits=httpx.Limits(max_connections=_MOST_CONNECTIONS),
        )

    async def __aenter__(self) -> Outgoing:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send once, within the timeout altogether.

        Raises ``AddressRefused``, ``httpx.HTTPError`` and ``TimeoutError``.
        """
        async with asyncio.timeout(self._timeout_seconds):
            asked = httpx.URL(url)
            address = await self._resolve(asked.host, asked.port or (443 if asked.scheme == "https" else 80))
            async with self._client.stream(
                "POST",
                asked.copy_with(host=str(address)),
                content=body,
                headers={**headers, "Host": asked.netloc.decode()},
                extensions={"sni_hostname": asked.host},
            ) as response:
                return Answer(response.status_code, response.headers, await _beginning(response))

    async def _resolve(self, host: str, port: int) -> Address:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx.ConnectError(f"{host} cannot be resolved: {error.strerror}") from error
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        for address in addresses:
            problem = address_problem(address, private=self._private)
            if problem is not None:
                raise AddressRefused(f"{host}: {problem}")
        return addresses[0]


async def _beginning(response: httpx.Response) -> str:
    read = bytearray()
    async for piece in response.aiter_raw(_MOST_ANSWER_BYTES):
        read += piece
        if len(read) >= _MOST_ANSWER_BYTES:
            break
    return bytes(read[:_MOST_ANSWER_BYTES]).decode("utf-8", "replace")
