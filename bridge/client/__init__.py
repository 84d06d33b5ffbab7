"""The bridge's own API as a small library, sync and async; see ``docs/client.md``.

Importing this package imports nothing: the names below are fetched when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.client.api import AsyncBridgeClient
    from bridge.client.inputs import resolve_input
    from bridge.client.reference import build_reference
    from bridge.client.refs import ArtifactRef
    from bridge.client.sync import BridgeClient

__all__ = ["ArtifactRef", "AsyncBridgeClient", "BridgeClient", "build_reference", "resolve_input"]

_HOMES = {
    "ArtifactRef": "bridge.client.refs",
    "AsyncBridgeClient": "bridge.client.api",
    "BridgeClient": "bridge.client.sync",
    "build_reference": "bridge.client.reference",
    "resolve_input": "bridge.client.inputs",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
