"""What a browser has to load: at most so much at first, on any route, and altogether."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bridge.service.dashboard import WEB

KIB = 1000
FIRST_LOAD = 250 * KIB
ANY_ROUTE = 350 * KIB
WHOLE = 3000 * KIB
PAGES = "src/pages/"


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    """Vite's account of which file needs which."""
    found: dict[str, Any] = json.loads((WEB / "manifest.json").read_text())
    return found


def _needed(manifest: dict[str, Any], keys: Iterable[str], known: Iterable[str] = ()) -> set[str]:
    """The chunks that come with these at once, without those that are ``known`` already."""
    seen: set[str] = set(known)
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in seen:
            seen.add(key)
            waiting += manifest[key].get("imports", ())
    return seen


def _heaviest(manifest: dict[str, Any], key: str, known: set[str]) -> int:
    """The bytes of a chunk and of the heaviest of those that it may ask for later, and so on."""
    here = _needed(manifest, [key], known)
    later = {one for chunk in here - known for one in manifest[chunk].get("dynamicImports", ())} - here
    return _bytes(manifest, here - known) + max((_heaviest(manifest, one, here) for one in later), default=0)


def _bytes(manifest: dict[str, Any], chunks: Iterable[str]) -> int:
    files: set[str] = set()
    for chunk in map(manifest.__getitem__, chunks):
        files |= {chunk["file"], *chunk.get("css", ()), *chunk.get("assets", ())}
    return _gzipped(files)


def _gzipped(files: Iterable[str]) -> int:
    return sum(len(gzip.compress((WEB / name).read_bytes(), compresslevel=6)) for name in files)


def _routes(manifest: dict[str, Any]) -> list[str]:
    return [key for key in manifest if key.startswith(PAGES) and key.endswith("Page.tsx")]


def test_the_first_load_is_small(manifest: dict[str, Any]) -> None:
    chunks = _needed(manifest, ["index.html", "src/pages/runs/RunsPage.tsx"])
    assert 50 * KIB < _bytes(manifest, chunks) <= FIRST_LOAD


def test_no_route_is_large_whatever_is_opened_on_it(manifest: dict[str, Any]) -> None:
    """A chart and a graph on one page are not loaded together, but may be looked at one after the other."""
    routes = _routes(manifest)
    assert len(routes) >= 2
    shell = _needed(manifest, ["index.html"])
    for route in routes:
        assert _bytes(manifest, shell) + _heaviest(manifest, route, shell) <= ANY_ROUTE, route


def test_the_whole_is_small(manifest: dict[str, Any]) -> None:
    assert sum(path.stat().st_size for path in WEB.rglob("*") if path.is_file()) <= WHOLE


def test_the_lock_file_names_no_host(manifest: dict[str, Any]) -> None:
    lock = (Path(__file__).parents[2] / "bridge" / "dashboard" / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert "//registry" not in lock
