"""Requests to addresses that callers and artifacts named: resolved first, judged, and only then connected to.

Whoever may name an address could otherwise make the service ask what only the service can reach: a
database's port, a cloud's metadata. The name is resolved once, each address it has must be allowed, and the
connection goes to the very address that was judged, so that a name cannot change its meaning in between.
Redirects are not followed, and of an answer only the beginning is read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

_MOST_ANSWER_BYTES = 2048
_MOST_PIECE_BYTES = 64 * 1024
_MOST_CONNECTIONS = 100
_MOST_ADDRESSES = 3
# Where clouds tell a machine its credentials, as far as the address is not link-local.
_CLOUD_METADATA = frozenset(
    ipaddress.ip_address(one) for one in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class AddressRefused(Exception):
    """The address must not be asked; the text says why and what would allow it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, headers, and the beginning of the text."""

    status: int
    headers: Mapping[str, str]
    text: str


def address_problem(
    address: Address, *, private: bool, allowed_by: str = "webhook_private_addresses"
) -> str | None:
    """Why an address must not be connected to; ``private`` lets the networks of one's own in, which the
    setting ``allowed_by`` would."""
    inner = _inside(address)
    if inner is not None:
        return address_problem(inner, private=private, allowed_by=allowed_by)
    if address in _CLOUD_METADATA:
        return f"{address} is where a cloud tells a machine its credentials"
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return f"{address} is link-local, multicast or unspecified"
    if not private and (not address.is_global or address.is_reserved):
        return f"{address} is a private address ({allowed_by} allows these)"
    return None


def _inside(address: Address) -> Address | None:
    """The IPv4 address that one of IPv6 stands for, by whichever way of writing it."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses that the system's resolver has for a name. Raises ``httpx.ConnectError``."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"{host} cannot be resolved: {error}") from error
    return [str(entry[4][0]) for entry in found]


class Outgoing:
    """Sends requests to addresses that callers named. Use it as an ``async with`` block.

    ``private`` lets private and loopback addresses in; ``allowed_by`` is the setting that would. Of an answer
    ``most_bytes`` are read; ``verify`` is what its certificate is judged by.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        private: bool,
        allowed_by: str = "webhook_private_addresses",
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolve = resolve,
        most_bytes: int = _MOST_ANSWER_BYTES,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._private = private
        self._allowed_by = allowed_by
        self._find = resolve
        self._most_bytes = most_bytes
        self._client = httpx.AsyncClient(
            timeout=timeout_seconds,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
            verify=verify,
            # Connections are pooled by address: one that was made for another name must not be used again.
            limits=httpx.Limits(max_connections=_MOST_CONNECTIONS, max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Outgoing:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send once, within the timeout altogether.

        Raises ``AddressRefused``, ``httpx.HTTPError`` and ``TimeoutError``.
        """
        return await self._ask("POST", url, headers, body)

    async def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """As ``post``, without a body."""
        return await self._ask("GET", url, headers, None)

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        async with asyncio.timeout(self._timeout_seconds):
            asked = httpx.URL(url)
            if asked.scheme not in ("http", "https") or not asked.host:
                raise AddressRefused(f"{asked.scheme}://{asked.host} is no address of the web")
            addresses = await self._judged(asked.host, asked.port or (443 if asked.scheme == "https" else 80))
            for left, address in enumerate(addresses, 1 - len(addresses)):
                try:
                    return await self._ask_at(method, asked, str(address), headers, body)
                except httpx.ConnectError:
                    # Nothing was sent yet: another of the addresses that were judged may answer.
                    if not left:
                        raise
            raise AssertionError("there is an address, and the last one answers or raises")

    async def _ask_at(
        self, method: str, asked: httpx.URL, address: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        async with self._client.stream(
            method,
            asked.copy_with(host=address),
            content=body,
            headers={**headers, "Host": asked.netloc.decode()},
            extensions={"sni_hostname": asked.host},
        ) as response:
            text = await _beginning(response, self._most_bytes)
            return Answer(response.status_code, response.headers, text)

    async def _judged(self, host: str, port: int) -> list[Address]:
        """The addresses of a host, the first of them, when nothing is against any."""
        found = await self._find(host, port)
        addresses = [ipaddress.ip_address(one.partition("%")[0]) for one in found]
        for address in addresses:
            problem = address_problem(address, private=self._private, allowed_by=self._allowed_by)
            if problem is not None:
                raise AddressRefused(f"{host}: {problem}")
        if not addresses:
            raise httpx.ConnectError(f"{host} has no address")
        return list(dict.fromkeys(addresses))[:_MOST_ADDRESSES]


async def _beginning(response: httpx.Response, most_bytes: int) -> str:
    read = bytearray()
    async for piece in response.aiter_raw(min(most_bytes, _MOST_PIECE_BYTES)):
        read += piece
        if len(read) >= most_bytes:
            break
    return bytes(read[:most_bytes]).decode("utf-8", "replace")
