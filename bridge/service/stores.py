"""Reads what URIs of artifacts name: files, and objects in S3 or Google Cloud Storage, through fsspec.

Stores are read in threads of their own, and no question takes longer than its time: one that hangs keeps its
thread, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import anyio.to_thread
import fsspec
from anyio import CapacityLimiter

from bridge.domain.uris import local_path, normalise_uri
from bridge.service.settings import ServiceSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
PIECE_BYTES = 1024 * 1024
_THREADS = 16
_PROTOCOLS = {"s3": "s3", "gs": "gcs"}
_EXTRAS = {"s3": "s3", "gs": "gcs"}
_STAMPS = ("ETag", "etag", "VersionId", "generation", "LastModified", "updated", "mtime", "ino")
_MAX_ERROR_CHARS = 300


class NothingThere(Exception):
    """There is no content under the URI; the text says why."""


class StoreTrouble(Exception):
    """The store does not answer, or refuses; the text says how."""


@dataclass(frozen=True, slots=True)
class Found:
    """A content that is there. ``stamp`` changes when it does; ``path`` is the store's own name of it."""

    uri: str
    protocol: str
    path: str
    size: int
    stamp: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rstrip("/").rpartition("/")[2]


class Stores:
    """What this process may read, and how."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._threads = CapacityLimiter(_THREADS)
        self._systems: dict[str, Any] = {}

    async def find(self, uri: str) -> Found:
        """What is there; the settings have said that it may be read.

        Raises ``NothingThere`` and ``StoreTrouble``.
        """
        protocol, path = _place(uri)
        told = await self._ask(uri, lambda: self._system(protocol).info(path))
        if told.get("type") == "directory":
            raise NothingThere(f"{uri} is a directory, which has no content of its own")
        if told.get("type") != "file":
            raise NothingThere(f"{uri} is no file")
        stamp = repr([(name, str(told[name])) for name in _STAMPS if name in told] + [told["size"]])
        digest = hashlib.sha256(stamp.encode()).hexdigest()[:32]
        return Found(uri, protocol, path, int(told["size"]), digest)

    async def is_there(self, uri: str) -> bool:
        """Whether there is a file, an object or a directory.

        Raises ``NothingThere`` for a URI of another kind, and ``StoreTrouble``.
        """
        protocol, path = _place(uri)
        there: bool = await self._ask(uri, lambda: self._system(protocol).exists(path))
        return there

    async def read(self, found: Found, start: int, length: int) -> bytes:
        """So many bytes from there, fewer at its end. Raises ``NothingThere`` and ``StoreTrouble``."""
        system = self._system(found.protocol)
        content: bytes = await self._ask(
            found.uri, lambda: system.cat_file(found.path, start=start, end=start + length)
        )
        return content

    async def pieces(self, found: Found, start: int, length: int) -> AsyncIterator[bytes]:
        """The same, piece by piece."""
        end = start + length
        while start < end:
            piece = await self.read(found, start, min(PIECE_BYTES, end - start))
            if not piece:
                # It became shorter meanwhile: the connection breaks, which whoever reads notices.
                raise StoreTrouble(f"{found.uri} ended before its size")
            yield piece
            start += len(piece)

    async def _ask(self, uri: str, question: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._settings.content_read_seconds):
                return await anyio.to_thread.run_sync(question, abandon_on_cancel=True, limiter=self._threads)
        except TimeoutError as error:
            seconds = self._settings.content_read_seconds
            raise StoreTrouble(f"{uri}: no answer within {seconds:g} s") from error
        except FileNotFoundError as error:
            raise NothingThere(f"there is nothing at {uri} any more") from error
        except ImportError as error:
            extra = _EXTRAS.get(urlsplit(uri).scheme, "")
            raise StoreTrouble(
                f"{uri}: this installation cannot read such a store; it needs airflow-kfp-bridge[{extra}]"
            ) from error
        except Exception as error:
            # Each store has errors of its own; all of them mean that it cannot be read now.
            log.warning("store cannot be read", extra={"uri": uri, "error": repr(error)})
            text = f"{uri}: {type(error).__name__}: {error}"
            raise StoreTrouble(text[:_MAX_ERROR_CHARS]) from error

    def _system(self, protocol: str) -> Any:
        if protocol not in self._systems:
            options = dict(self._settings.content_options.get(protocol, {}))
            # A listing that is remembered would hide what was written since.
            options.setdefault("use_listings_cache", False)
            self._systems[protocol] = fsspec.filesystem(protocol, **options)
        return self._systems[protocol]


def _place(uri: str) -> tuple[str, str]:
    """The fsspec protocol and the path that a URI names. Raises ``NothingThere`` for other URIs."""
    path = local_path(uri)
    if path is not None:
        return "file", path
    parts = urlsplit(normalise_uri(uri))
    protocol = _PROTOCOLS.get(parts.scheme)
    if protocol is None:
        raise NothingThere(f"the content of {uri} is not passed through; read it there")
    return protocol, f"{parts.netloc}{unquote(parts.path)}"
