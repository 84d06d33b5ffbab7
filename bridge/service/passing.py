"""Passes an artifact's content on: whole, a range or its beginning, and never as something that runs."""

from __future__ import annotations

import mimetypes
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from bridge.domain.lineage import Artifact
from bridge.domain.uris import local_path
from bridge.service.problems import ProblemError
from bridge.service.ranges import Part, Unsatisfiable, part_of
from bridge.service.settings import ServiceSettings
from bridge.service.stores import Found, NothingThere, Stores, StoreTrouble

MOST_PREVIEW_BYTES = 1024 * 1024
SIZE_HEADER = "KFBridge-Content-Size"
# Shown or downloaded, never run: the dashboard's origin must not execute what a component wrote.
_SHOWN_TYPES = frozenset(
    {
        *("text/plain", "text/csv", "text/markdown", "text/html", "application/json"),
        *("image/png", "image/jpeg", "image/svg+xml"),
    }
)
_TYPES = {"system.HTML": "text/html", "system.Markdown": "text/markdown"}
# Styles and pictures of its own, no script, no form, no request, and an origin that is nobody's.
_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'self'"
)


async def pass_on(
    stores: Stores,
    settings: ServiceSettings,
    artifact: Artifact,
    headers: Mapping[str, str],
    *,
    projects: Collection[str] = ("",),
    preview_bytes: int | None = None,
) -> Response:
    """The answer to a request for an artifact's content. It may be given if it may as that of one of the
    ``projects``, which are those of the artifact that the caller sees. Raises ``ProblemError``."""
    uri = artifact.uri
    if not uri:
        raise ProblemError("not-found", "the artifact has no URI, so it has no content")
    try:
        # Links of a file system that is away are followed in it.
        project = await stores.ask(uri, lambda: _readable_in(settings, uri, projects))
        found = await stores.find(uri, project)
        etag = f'"{found.stamp}"'
        if etag in _tags(headers.get("if-none-match")):
            return Response(status_code=304, headers={"ETag": etag, "Cache-Control": "private, no-cache"})
        common = _headers(found, artifact, etag)
        if preview_bytes is not None:
            # An object store has no range of nothing.
            beginning = await stores.read(found, 0, preview_bytes) if found.size else b""
            return Response(beginning, headers={**common, SIZE_HEADER: str(found.size)})
        part = _wanted(found, headers, etag)
    except NothingThere as error:
        raise ProblemError("not-found", str(error)) from error
    except StoreTrouble as error:
        raise ProblemError("content-unavailable", str(error), retry_after_seconds=10.0) from error
    _check_size(part, found, settings.max_content_bytes)
    common["Content-Length"] = str(part.length)
    if not part.whole:
        common["Content-Range"] = part.content_range
    body = stores.pieces(found, part.start, part.length)
    return StreamingResponse(body, status_code=200 if part.whole else 206, headers=common)


def _readable_in(settings: ServiceSettings, uri: str, projects: Collection[str]) -> str:
    """The project as whose content it may be given."""
    try:
        path = local_path(uri)
    except ValueError:
        path = None
    for project in projects:
        if (
            settings.may_read_store(uri, project)
            if path is None
            else settings.may_pass_on(Path(path), project)
        ):
            return project
    if path is None:
        raise NothingThere(f"the content of {uri} is not passed through (content_stores); read it there")
    raise NothingThere(f"{uri} lies outside content_roots, so it is not passed on")


def _wanted(found: Found, headers: Mapping[str, str], etag: str) -> Part:
    condition = headers.get("if-range")
    asked = headers.get("range") if condition is None or condition.strip() == etag else None
    try:
        return part_of(asked, found.size)
    except Unsatisfiable:
        raise ProblemError(
            "range-not-satisfiable",
            f"{found.uri} has {found.size:,} bytes",
            headers={"Content-Range": f"bytes */{found.size}"},
        ) from None


def _check_size(part: Part, found: Found, limit: int) -> None:
    if part.length > limit:
        raise ProblemError(
            "too-large",
            f"{found.uri} has {found.size:,} bytes; at most {limit:,} are passed on at once: ask for a range",
        )


def _headers(found: Found, artifact: Artifact, etag: str) -> dict[str, str]:
    guessed = _TYPES.get(artifact.type) or mimetypes.guess_type(found.name)[0] or "application/octet-stream"
    shown = guessed in _SHOWN_TYPES
    media_type = guessed if shown else "application/octet-stream"
    return {
        "Content-Type": f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type,
        "Content-Disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{quote(found.name)}",
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "bytes",
        "ETag": etag,
    }


def _tags(header: str | None) -> list[str]:
    return [one.strip().removeprefix("W/") for one in (header or "").split(",")]
