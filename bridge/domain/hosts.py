"""Which names a server answers to: the defence against pages that rebind a name of their own to it.

A browser lets a page speak with the host that it came from. A page whose name means another address a minute
later, this server's, would thus read everything here; but it cannot help telling its own name in ``Host``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping

# What a browser says of a request that the page itself, or nobody's page, has sent.
_OWN_SITES = ("same-origin", "none")
_READING = ("GET", "HEAD")


def host_of(header: str) -> str:
    """The name or address in the value of a ``Host`` header, lowered, without port and brackets."""
    text = header.strip().lower()
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        return address if not rest or (rest[0] == ":" and rest[1:].isdigit()) else text
    host, _, port = text.rpartition(":")
    # A bare IPv6 address has more than one colon, and none of them begins a port.
    return host.rstrip(".") if host and ":" not in host and port.isdigit() else text.rstrip(".")


def is_address(host: str) -> bool:
    """Whether it is an address rather than a name: that nobody can rebind."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_known_host(header: str, names: Collection[str]) -> bool:
    """Whether a request with this ``Host`` is meant for a server of these names.

    Addresses and the loopback names always are. A name that begins with ``*.`` stands for everything under
    it, ``*`` for every name at all.
    """
    host = host_of(header)
    if host == "localhost" or host.endswith(".localhost") or is_address(host):
        return True
    return any(_is_meant(host, name.lower().rstrip(".")) for name in names)


def _is_meant(host: str, name: str) -> bool:
    if name.startswith("*."):
        return host.endswith(name[1:])
    return name in ("*", host)


def is_foreign_change(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser sends a change for another site's page, as its ``Sec-Fetch-Site`` tells; programs
    send no such header."""
    return method not in _READING and headers.get("sec-fetch-site", "none") not in _OWN_SITES
