from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.support.bridge_service import start_service
from tests.web.browser import View, new_context, running_browser
from tests.web.world import World, make_world

OpenView = Callable[..., View]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service with a run of each kind."""
    with make_world(tmp_path_factory.mktemp("web")) as world:
        yield world


@pytest.fixture(scope="session")
def empty_url(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[str]:
    """A service whose database is empty and stays so: it has no workers that would find runs."""
    kfp_url = world.client.get("/api/v1/status").json()["backends"][0]["url"]
    folder = tmp_path_factory.mktemp("empty")
    with start_service(folder, kfp_url, env={"KFBRIDGE_WORKERS": "0"}) as service:
        yield service.url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium for all tests of this folder."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def look(browser: Browser, request: pytest.FixtureRequest) -> Iterator[OpenView]:
    """Opens pages under observation, of the world's service unless ``base_url`` is given; ``theme``, ``size``
    and ``script`` may be, too."""
    contexts: list[BrowserContext] = []

    def open_view(
        *, theme: str = "light", size: str = "desk", script: bool = True, base_url: str | None = None
    ) -> View:
        url = base_url or request.getfixturevalue("world").url
        context = new_context(browser, url, theme=theme, size=size, script=script)
        contexts.append(context)
        return View(context.new_page())

    yield open_view
    for context in contexts:
        context.close()
