"""The content of artifacts, under the paths at which the KFP UI's host serves it."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import sqlite3
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from bridge.local.artifacts import to_uri
from bridge.local.routes.shared import Backend, backend_of

router = APIRouter(prefix="/artifacts")
# Made by pipelines, shown by a browser, from the origin of the API: it must run nothing there.
_HEADERS = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
_SOURCES = ("file", "volume")
_MOST_PEEKED_BYTES = 64 * 1024 * 1024


@router.get("/get")
async def get(request: Request) -> Response:
    """``source=file`` and a ``key`` that is the path of an artifact's URI; ``peek`` bytes of it, if given"""
    query = request.query_params
    return await _content(
        backend_of(request), query.get("source", ""), query.get("key", ""), query.get("peek", "")
    )


@router.get("/{source}/{bucket}/{key:path}")
async def download(request: Request, source: str, bucket: str, key: str) -> Response:
    """The same as a path; the ``bucket`` of a file says nothing, by habit it is ``local``"""
    return await _content(backend_of(request), source, "/" + key, request.query_params.get("peek", ""))


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _content(backend: Backend, source: str, key: str, peek: str) -> Response:
    try:
        path, details = await _find(backend, source, key)
        most = _bytes_of(peek)
    except _RefusedError as error:
        return Response(str(error), error.status, media_type="text/plain", headers=_HEADERS)
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if most is None:
        return FileResponse(path, media_type=kind, headers=_HEADERS, stat_result=details)
    start = await asyncio.to_thread(_start_of, path, most)
    return Response(start, media_type=kind, headers=_HEADERS)


async def _find(backend: Backend, source: str, key: str) -> tuple[Path, os.stat_result]:
    if not source or not key:
        missing = "source" if not source else "key"
        raise _RefusedError(400, f"Storage {missing} is missing from artifact request")
    if source not in _SOURCES:
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
