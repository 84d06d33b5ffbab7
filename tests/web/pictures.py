"""Takes the pictures of the dashboard in the documentation, of the runs that its tests make:

.venv/bin/python -m tests.web.pictures
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from tests.web.browser import THEMES, View, new_context, running_browser
from tests.web.test_looks import PLACES, settled
from tests.web.world import World, make_world

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
_LARGEST_BYTES = 200 * 1024
# Which pages, by their names in `PLACES`, under which name, and how high.
_PICTURES = {
    "runs": ("runs", 800),
    "broken": ("run", 860),
    "graph": ("graph", 860),
    "metrics": ("metrics", 860),
}


def main() -> int:
    """Writes a picture of each page in each theme."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        make_world(Path(folder)) as world,
        running_browser() as browser,
    ):
        for place, (name, height) in _PICTURES.items():
            for theme in THEMES:
                _take(browser, world, place, theme, _FOLDER / f"{name}-{theme}.png", height)
    return 0


def _take(browser: Browser, world: World, place: str, theme: str, target: Path, height: int) -> None:
    path, shown = PLACES[place]
    context = new_context(browser, world.url, theme=theme)
    view = View(context.new_page())
    view.page.set_viewport_size({"width": 1280, "height": height})
    view.open(world.fill(path))
    settled(view.page, shown)
    view.page.wait_for_load_state("load")
    # The page says Live once nothing is being asked for any more.
    view.page.get_by_role("button", name="Live:").wait_for()
    view.page.screenshot(path=target, animations="disabled")
    assert view.problems() == [], view.problems()
    context.close()
    size = target.stat().st_size
    assert size <= _LARGEST_BYTES, f"{target.name} has {size:,} bytes"
    print(f"{target.name}: {size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
