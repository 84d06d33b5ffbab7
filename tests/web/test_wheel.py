"""The wheel by itself: what somebody installs serves the pages, without Node and without the sources."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from uv import find_uv_bin

from tests.support.bridge_service import BridgeService, start_service
from tests.web.browser import View, new_context

ROOT = Path(__file__).resolve().parents[2]
_MOST_BYTES = 3_000_000
# That the wheel's files are served, not those of the sources.
MARK = "<!-- out of the wheel -->"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the sources as they are."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeService]:
    """A service of the wheel's own files; the environment lends it what it depends on."""
    place = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(place)
    index = place / "bridge" / "service" / "web" / "index.html"
    index.write_text(index.read_text() + MARK)
    # Without PYTHONSAFEPATH the sources in the working directory would come first.
    env = {"PYTHONPATH": str(place), "PYTHONSAFEPATH": "1", "KFBRIDGE_WORKERS": "0"}
    with start_service(place, "http://127.0.0.1:9", env=env) as service:
        yield service


def test_it_holds_the_pages_and_no_sources_of_them(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        sizes = {one.filename: one.file_size for one in packed.infolist()}
    pages = [name for name in sizes if name.startswith("bridge/service/web/")]
    assert "bridge/service/web/index.html" in pages
    assert sum(sizes[name] for name in pages) <= _MOST_BYTES
    assert [name for name in sizes if name.startswith("bridge/dashboard/")] == []
    assert [name for name in sizes if "node_modules" in name or name.startswith("tests/")] == []


def test_its_service_shows_them(browser: Browser, installed: BridgeService) -> None:
    context = new_context(browser, installed.url)
    view = View(context.new_page())
    assert MARK in view.open("/").text()
    expect(view.page.get_by_text("No runs yet")).to_be_visible()
    view.open("/oncall")
    expect(view.page.get_by_role("heading", name="On call")).to_be_visible()
    assert view.problems() == []
    context.close()
