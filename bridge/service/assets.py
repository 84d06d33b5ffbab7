"""The built files of the dashboard: answered from memory, and named in the page before a script asks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.types import Scope

# Where the build leaves a place for the number that lets this answer's styles in, and no others.
NONCE_PLACE = "kfbridge-style-nonce"
_FOREVER = "public, max-age=31536000, immutable"
_LEAST_TO_COMPRESS = 1024


class KeptAssets(StaticFiles):
    """Built files, each called after its content: a browser need never ask twice, and what was read and
    compressed once is kept. A page is made of dozens, so that compressing them anew would hold up its first
    opening."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=str(directory), check_dir=False)
        self._kept: dict[tuple[str, bool], Response] = {}

    async def get_response(self, path: str, scope: Scope) -> Response:
        """As for any file, with the promise that it does not change."""
        if scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        asked = Headers(scope=scope)
        key = path, "gzip" in asked.get("accept-encoding", "")
        if key not in self._kept:
            answer = await super().get_response(path, {**scope, "headers": []})
            if not isinstance(answer, FileResponse):
                return answer
            self._kept[key] = await anyio.to_thread.run_sync(_kept, answer, key[1])
        found = self._kept[key]
        if self.is_not_modified(found.headers, asked):
            return Response(status_code=304, headers=_told(found.headers))
        return found


def _kept(answer: FileResponse, compressed: bool) -> Response:
    content = Path(answer.path).read_bytes()
    headers = {**_told(answer.headers), "cache-control": _FOREVER, "vary": "Accept-Encoding"}
    if compressed and len(content) >= _LEAST_TO_COMPRESS:
        content = gzip.compress(content, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(content, headers=headers, media_type=answer.media_type)


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: headers[name] for name in ("etag", "last-modified", "cache-control", "vary") if name in headers
    }


def first_links(web: Path, source: str) -> str:
    """Elements of the page's head, written as the build writes them, that let a browser load along with the
    rest what the page of a route is made of: the module of that source, and all that it imports. Empty if it
    was not built."""
    manifest = web / "manifest.json"
    return _links(manifest, manifest.stat().st_mtime_ns, source) if manifest.is_file() else ""


@lru_cache(maxsize=64)
def _links(manifest: Path, _changed: int, source: str) -> str:
    chunks: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
    if source not in chunks:
        return ""
    known = set(_imported(chunks, "index.html"))
    needed = [name for name in _imported(chunks, source) if name not in known]
    found = [("modulepreload", chunks[name]["file"]) for name in needed]
    styles = (style for name in needed for style in chunks[name].get("css", ()))
    found += [("stylesheet", style) for style in dict.fromkeys(styles)]
    return "".join(
        f'<link rel="{use}" crossorigin href="./{file}" nonce="{NONCE_PLACE}">' for use, file in found
    )


def _imported(chunks: Mapping[str, Any], name: str, seen: set[str] | None = None) -> Iterator[str]:
    """The chunk and what it imports, each once, what is imported first."""
    seen = set() if seen is None else seen
    if name in seen:
        return
    seen.add(name)
    for other in chunks[name].get("imports", ()):
        yield from _imported(chunks, other, seen)
    yield name
