"""The pages in a real Chromium: how long Runs takes to be usable, and which routes a browser asks for."""

from __future__ import annotations

import statistics
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Browser, Page, Request

from tests.bench.pages_cases import API, ROUTES, route_of
from tests.web.browser import chromium_path, new_context, running_browser

OPENINGS = 5
# What is no question with an answer that ends.
_STREAMS = {"/events"}


def measure(url: str) -> dict[str, Any]:
    """Seconds from opening Runs until its rows can be used, and routes that no case of the bench has."""
    if chromium_path() is None:
        return {"usable": {}, "unmeasured": ["the pages: there is no Chromium (tests/web/install-chromium)"]}
    with running_browser() as browser:
        usable = {
            "first time": statistics.median(_opened(browser, url) for _ in range(OPENINGS)),
            "again": statistics.median(_opened_again(browser, url)),
        }
        return {"usable": usable, "unmeasured": sorted(_asked(browser, url) - ROUTES)}


def _opened(browser: Browser, url: str) -> float:
    """By a reader who was never here."""
    context = new_context(browser, url)
    try:
        return _open(context.new_page())
    finally:
        context.close()


def _opened_again(browser: Browser, url: str) -> list[float]:
    context = new_context(browser, url)
    try:
        _open(context.new_page())
        return [_open(context.new_page()) for _ in range(OPENINGS)]
    finally:
        context.close()


def _open(page: Page) -> float:
    began = time.perf_counter()
    page.goto("/", wait_until="commit")
    row = page.locator("tbody tr >> nth=9")
    row.wait_for()
    # Usable: a key does what it says.
    page.keyboard.press("j")
    page.locator("[data-run-link]:focus").wait_for()
    return time.perf_counter() - began


def _asked(browser: Browser, url: str) -> set[str]:
    """The routes that a browser asks for on its way through the pages."""
    asked: set[str] = set()

    def note(request: Request) -> None:
        path = urlsplit(request.url).path
        if path.startswith(API) and request.method == "GET":
            asked.add(route_of(path))

    run = httpx.get(f"{url}{API}/runs", params={"state": "FAILED", "limit": 1}, timeout=60).json()["items"][0]
    here = f"/runs/{run['run_id']}"
    tabs = ("timeline", "graph", "metrics", "artifacts", "parameters", "logs", "events", "explain")
    places = (
        *(f"{here}?tab={tab}" for tab in tabs),
        *("/", "/pipelines", f"/pipelines/{run['pipeline']['name']}?project={run['project']}"),
        *("/artifacts", "/oncall", "/cost", "/backends", f"/lineage?node=run:{run['run_id']}", "/compare"),
    )
    context = new_context(browser, url)
    context.on("request", note)
    page = context.new_page()
    for place in places:
        page.goto(place)
        page.locator("main").wait_for()
        page.wait_for_function("() => !document.querySelector('[aria-busy=true]')")
    context.close()
    return asked - _STREAMS
