"""The content of artifacts, under the paths at which the KFP UI's host serves it."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from bridge.local.artifacts import to_uri
from bridge.local.object_store import PIECE_BYTES, SCHEMES, NothingThereError, ObjectStore, ObjectStoreError
from bridge.local.routes.shared import Backend, backend_of

router = APIRouter(prefix="/artifacts")
# Made by pipelines, shown by a browser, from the origin of the API: it must run nothing there.
_HEADERS = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
_FILES = ("file", "volume")
_MOST_PEEKED_BYTES = 64 * 1024 * 1024


@router.get("/get")
async def get(request: Request) -> Response:
    """``source=file`` and a ``key`` that is the path of an artifact's URI, or ``source=s3`` with ``bucket``
    and ``key``; ``peek`` bytes of it, if given"""
    query = request.query_params
    place = _Place(query.get("source", ""), query.get("bucket", ""), query.get("key", ""))
    return await _content(backend_of(request), place, query.get("peek", ""))


@router.get("/{source}/{bucket}/{key:path}")
async def download(request: Request, source: str, bucket: str, key: str) -> Response:
    """The same as a path; the ``bucket`` of a file says nothing, by habit it is ``local``"""
    place = _Place(source, bucket, "/" + key if source in _FILES else key)
    return await _content(backend_of(request), place, request.query_params.get("peek", ""))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the KFP UI says that an artifact is."""

    source: str
    bucket: str
    key: str


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _content(backend: Backend, place: _Place, peek: str) -> Response:
    try:
        if backend.objects is not None and place.source in SCHEMES:
            return await _object(backend, backend.objects, place, _bytes_of(peek))
        path, details = await _find(backend, place.source, place.key)
        most = _bytes_of(peek)
    except _RefusedError as error:
        return Response(str(error), error.status, media_type="text/plain", headers=_HEADERS)
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if most is None:
        return FileResponse(path, media_type=kind, headers=_HEADERS, stat_result=details)
    start = await asyncio.to_thread(_start_of, path, most)
    return Response(start, media_type=kind, headers=_HEADERS)


async def _object(backend: Backend, objects: ObjectStore, place: _Place, most: int | None) -> Response:
    if not place.key or not place.bucket:
        missing = "bucket" if not place.bucket else "key"
        raise _RefusedError(400, f"Storage {missing} is missing from artifact request")
    uri = f"{place.source}://{place.bucket}/{place.key}"
    if not await backend.store.read(lambda connection: _is_object_of_ours(connection, uri)):
        raise _RefusedError(404, f"No artifact of this backend is at {uri}")
    try:
        size = await asyncio.to_thread(objects.size, uri)
    except ObjectStoreError as error:
        status = 404 if isinstance(error, NothingThereError) else 502
        raise _RefusedError(status, str(error)) from error
    size = size if most is None else min(size, most)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, PIECE_BYTES):
            yield await asyncio.to_thread(objects.read, uri, start, min(start + PIECE_BYTES, size))

    kind = mimetypes.guess_type(place.key)[0] or "application/octet-stream"
    headers = {**_HEADERS, "Content-Length": str(size)}
    return StreamingResponse(pieces(), media_type=kind, headers=headers)


def _is_object_of_ours(connection: sqlite3.Connection, uri: str) -> bool:
    """Whether a recorded artifact is this object, or a folder that it is in."""
    path = PurePosixPath(uri.partition("://")[2])
    scheme = uri.partition("://")[0]
    for place in (path, *path.parents[:-1]):
        found = connection.execute(
            "SELECT 1 FROM mlmd_artifacts WHERE uri IN (?, ?) LIMIT 1",
            (f"{scheme}://{place}", f"{scheme}://{place}/"),
        ).fetchone()
        if found is not None:
            return ".." not in path.parts
    return False


async def _find(backend: Backend, source: str, key: str) -> tuple[Path, os.stat_result]:
    if not source or not key:
        missing = "source" if not source else "key"
        raise _RefusedError(400, f"Storage {missing} is missing from artifact request")
    if source not in _FILES:
        raise _RefusedError(400, f"Unknown storage source {source!r}: artifacts of this backend are files")
    path = _path_of(key)
    # One answer for what is not there and for what is nobody's business.
    if not await backend.store.read(lambda connection: _is_artifact(connection, path)):
        raise _RefusedError(404, f"No artifact of this backend is at {key}")
    try:
        details = path.stat()
    except OSError as error:
        raise _RefusedError(404, f"The artifact at {key} has no content here") from error
    if not stat.S_ISREG(details.st_mode):
        raise _RefusedError(400, f"The artifact at {key} is a folder: ask for a file in it")
    return path, details


def _bytes_of(peek: str) -> int | None:
    if not peek:
        return None
    if not (peek.isascii() and peek.isdecimal() and len(peek) < 19):
        raise _RefusedError(400, f"peek must be a number of bytes, not {peek!r}")
    return min(int(peek), _MOST_PEEKED_BYTES)


def _start_of(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _path_of(key: str) -> Path:
    if key.startswith("file:"):
        key = unquote(urlsplit(key).path)
    if "\0" in key:
        raise _RefusedError(400, "The storage key is no path")
    return Path(os.path.normpath(Path("/", key)))


def _is_artifact(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether a recorded artifact is this file, or a folder that it really lies in, links followed."""
    for place in (path, *path.parents[:-1]):
        uri = to_uri(str(place))
        found = connection.execute(
            "SELECT 1 FROM mlmd_artifacts WHERE uri IN (?, ?) LIMIT 1", (uri, uri + "/")
        ).fetchone()
        if found is not None:
            return path.resolve().is_relative_to(place.resolve())
    return False
