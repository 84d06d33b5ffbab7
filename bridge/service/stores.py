"""Reads what URIs of artifacts name: files, and objects in S3 or Google Cloud Storage, through fsspec.

Stores are read in threads of their own, and no question takes longer than its time: one that hangs keeps its
thread, and nothing else; there are only so many. Files are opened so that no link leads out of
``content_roots``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import fsspec

from bridge.domain.uris import local_path, normalise_uri
from bridge.service.rooted import OutsideRoots, is_inside, opened
from bridge.service.settings import ServiceSettings
from bridge.service.threads import PatientThreads, TooManyHang

log = logging.getLogger(__name__)

T = TypeVar("T")
PIECE_BYTES = 1024 * 1024
_THREADS = 16
_FILE = "file"
_PROTOCOLS = {"s3": "s3", "gs": "gcs"}
_EXTRAS = {"s3": "s3", "gs": "gcs"}
_STAMPS = ("ETag", "etag", "VersionId", "generation", "LastModified", "updated")
_MAX_ERROR_CHARS = 300


class NothingThere(Exception):
    """There is no content under the URI; the text says why."""


class StoreTrouble(Exception):
    """The store does not answer, or refuses; the text says how."""


@dataclass(frozen=True, slots=True)
class Found:
    """A content that is there. ``stamp`` changes when it does; ``path`` is the store's own name of it,
    ``roots`` are the folders out of which no link of it may lead."""

    uri: str
    protocol: str
    path: str
    size: int
    stamp: str
    roots: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rstrip("/").rpartition("/")[2]


class Stores:
    """What this process may read, and how."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self.threads = PatientThreads(_THREADS)
        self._systems: dict[str, Any] = {}

    async def find(self, uri: str, project: str = "") -> Found:
        """What is there; the settings have said that it may be read as the project's.

        Raises ``NothingThere`` and ``StoreTrouble``.
        """
        protocol, path = _place(uri)
        if protocol == _FILE:
            roots = self._settings.roots_of(project)
            return await self.ask(uri, lambda: self._find_file(uri, Path(path), roots))
        told = await self.ask(uri, lambda: self._system(protocol).info(path))
        if told.get("type") == "directory":
            raise NothingThere(f"{uri} is a directory, which has no content of its own")
        if told.get("type") != "file":
            raise NothingThere(f"{uri} is no file")
        stamp = repr([(name, str(told[name])) for name in _STAMPS if name in told] + [told["size"]])
        digest = hashlib.sha256(stamp.encode()).hexdigest()[:32]
        return Found(uri, protocol, path, int(told["size"]), digest)

    async def is_there(self, uri: str, project: str = "") -> bool:
        """Whether there is a file, an object or a directory.

        Raises ``NothingThere`` for a URI of another kind, and ``StoreTrouble``.
        """
        protocol, path = _place(uri)
        if protocol == _FILE:
            roots = self._settings.roots_of(project)
            return await self.ask(uri, lambda: _is_file_there(uri, Path(path), roots))
        there: bool = await self.ask(uri, lambda: self._system(protocol).exists(path))
        return there

    async def read(self, found: Found, start: int, length: int) -> bytes:
        """So many bytes from there, fewer at its end. Raises ``NothingThere`` and ``StoreTrouble``."""
        if found.protocol == _FILE:
            return await self.ask(found.uri, lambda: self._read_file(found, start, length))
        system = self._system(found.protocol)
        content: bytes = await self.ask(
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

    async def ask(self, uri: str, question: Callable[[], T]) -> T:
        """The answer to a question about what a URI names, asked in a thread and not for ever.

        Raises ``NothingThere`` and ``StoreTrouble``.
        """
        seconds = self._settings.content_read_seconds
        try:
            return await self.threads.ask(question, seconds)
        except (NothingThere, StoreTrouble):
            raise
        except TimeoutError as error:
            raise StoreTrouble(f"{uri}: no answer within {seconds:g} s") from error
        except TooManyHang as error:
            raise StoreTrouble(f"{uri}: not asked: {error}") from error
        except OutsideRoots as error:
            raise NothingThere(f"{uri} lies outside content_roots, so it is not passed on") from error
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

    def _find_file(self, uri: str, path: Path, roots: tuple[Path, ...]) -> Found:
        # Only to look into some devices does something.
        if not stat.S_ISREG(path.stat().st_mode):
            what = "a directory, which has no content of its own" if path.is_dir() else "no file"
            raise NothingThere(f"{uri} is {what}")
        with opened(path, roots) as file:
            told = os.fstat(file)
            if not stat.S_ISREG(told.st_mode):
                raise NothingThere(f"{uri} is no file any more")
        stamp = f"{told.st_mtime_ns} {told.st_dev} {told.st_ino} {told.st_size}"
        digest = hashlib.sha256(stamp.encode()).hexdigest()[:32]
        return Found(uri, _FILE, str(path), told.st_size, digest, roots)

    def _read_file(self, found: Found, start: int, length: int) -> bytes:
        with opened(Path(found.path), found.roots) as file:
            return os.pread(file, length, start)

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
        return _FILE, path
    parts = urlsplit(normalise_uri(uri))
    protocol = _PROTOCOLS.get(parts.scheme)
    if protocol is None:
        raise NothingThere(f"the content of {uri} is not passed through; read it there")
    return protocol, f"{parts.netloc}{unquote(parts.path)}"


def _is_file_there(uri: str, path: Path, roots: tuple[Path, ...]) -> bool:
    if roots and not is_inside(path, roots):
        raise OutsideRoots(uri)
    return path.exists()
