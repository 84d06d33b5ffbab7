"""Looking at a page as its reader does: a Chromium, and a page that notes what goes wrong in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    Response,
    Route,
    expect,
    sync_playwright,
)

THEMES = ("light", "dark")
SIZES = {"phone": (375, 812), "desk": (1280, 800)}
# What is expected has a time of its own, which by default is too short for a busy machine.
_PATIENCE_MS = 30_000
expect.set_options(timeout=_PATIENCE_MS)
# Without these a Chromium asks its maker's hosts for things at every start.
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_NOTE_VIOLATIONS = """
window.policyViolations = [];
addEventListener("securitypolicyviolation", (event) =>
  window.policyViolations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""
# Elements that stick out to the right, those that are there for screen readers only left out, and
# those of a graph, which is moved about in its frame.
_STICKING_OUT = """() => [...document.body.querySelectorAll("*")]
  .filter((one) => !one.closest(".react-flow, .unseen, thead, pre, [data-scrolls]"))
  .filter((one) => one.getClientRects().length)
  .filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5)
  .map((one) => one.outerHTML.slice(0, 120))"""


def chromium_path() -> str | None:
    """The Chromium to drive: ``KFBRIDGE_CHROMIUM``, or what is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = (shutil.which(name) for name in names)
    return os.environ.get("KFBRIDGE_CHROMIUM") or next((path for path in found if path), None)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A headless Chromium with an empty profile."""
    path = chromium_path()
    if path is None:
        raise RuntimeError("there is no Chromium; tests/web/install-chromium installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield browser
        browser.close()


def new_context(
    browser: Browser, base_url: str, *, theme: str = "light", size: str = "desk", script: bool = True
) -> BrowserContext:
    """A reader of their own: a theme, a window, and whether scripts run."""
    width, height = SIZES[size]
    context = browser.new_context(
        base_url=base_url,
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": width, "height": height},
        java_script_enabled=script,
        has_touch=size == "phone",
    )
    context.set_default_timeout(_PATIENCE_MS)
    return context


@dataclass
class View:
    """A page under observation. ``complaints`` are its errors, warnings, dialogs and lost requests."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(_NOTE_VIOLATIONS)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", self._refuse)
        self.page.on("response", self._note_response)
        self.page.on("console", self._note_console)
        self.page.on("requestfailed", self._note_lost)

    def open(self, path: str) -> Response:
        """Go to a path of the service."""
        answer = self.page.goto(path)
        assert answer is not None
        return answer

    def problems(self) -> list[str]:
        """What a reader would stumble over: complaints, policy violations, and what sticks out."""
        violations = self.page.evaluate("window.policyViolations")
        out = self.page.evaluate(_STICKING_OUT)
        width, window = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        scrolls = [f"the document is {width} wide in a window of {window}"] if width > window else []
        return [*self.complaints, *violations, *scrolls, *(f"sticks out: {one}" for one in out)]

    def accessibility(self) -> list[str]:
        """What axe finds wrong, contrast included, each with the first element it is wrong with."""
        found: dict[str, Any] = Axe().run(self.page).response
        return [
            f"{one['impact']} {one['id']}: {one['help']} — {one['nodes'][0]['html'][:160]} "
            f"({len(one['nodes'])} times) {one['nodes'][0].get('failureSummary', '')}"
            for one in found["violations"]
        ]

    def _note_console(self, message: Any) -> None:
        # A page with a status of its own, such as 404, is no failure of the page; see _note_response.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(f"console {message.type}: {message.text}")

    def _note_response(self, answer: Response) -> None:
        if answer.status >= 400 and not answer.request.is_navigation_request():
            self.complaints.append(f"{answer.status} for {answer.url}")

    def _note_lost(self, request: Request) -> None:
        # Whoever leaves a page breaks off what it still asks for and loads.
        if "/assets/" in request.url and request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"lost: {request.url}: {request.failure}")

    def _refuse(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()


class Cut:
    """The connection to a route of the service, which can be cut and mended."""

    def __init__(self, page: Page, route: str, *, away: bool = True) -> None:
        self.away = away
        page.route(route, self._answer)

    def _answer(self, route: Route) -> None:
        if self.away:
            route.abort()
        else:
            route.continue_()
