"""Takes the pictures of the dashboard in the documentation, of the runs that its tests make:

.venv/bin/python -m tests.web.pictures             those of the documentation
.venv/bin/python -m tests.web.pictures --all DIR   every page, at a desk and on a phone, to look at
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from tests.web.browser import SIZES, THEMES, View, new_context, running_browser
from tests.web.test_looks import PLACES, settled
from tests.web.world import World, make_world

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
_LARGEST_BYTES = 200 * 1024
# A browser loses what it was loading when the machine's network changes, as when containers come and go.
_TRIES = 3
# Which pages, by their names in `PLACES`, under which name, and how high.
_PICTURES = {
    "runs": ("runs", 800),
    "broken": ("run", 1080),
    "graph": ("graph", 860),
    "metrics": ("metrics", 860),
    "pipeline": ("pipeline", 1160),
    "on call": ("oncall", 560),
    "lineage": ("lineage", 860),
}


def main() -> int:
    """Writes a picture of each page in each theme."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.pictures", description=__doc__)
    parser.add_argument("--all", type=Path, metavar="DIR", help="every page, in both themes and sizes, there")
    everything: Path | None = parser.parse_args().all
    (everything or _FOLDER).mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        make_world(Path(folder)) as world,
        running_browser() as browser,
    ):
        for theme in THEMES:
            if everything is not None:
                for place in PLACES:
                    for size in SIZES:
                        target = everything / f"{place.replace(' ', '-')}-{size}-{theme}.png"
                        _take(browser, world, place, theme, target, size=size)
                continue
            for place, (name, height) in _PICTURES.items():
                target = _FOLDER / f"{name}-{theme}.png"
                for _ in range(_TRIES):
                    problems = _take(browser, world, place, theme, target, height=height)
                    if not problems:
                        break
                assert problems == [], problems
                size_in_bytes = target.stat().st_size
                assert size_in_bytes <= _LARGEST_BYTES, f"{target.name} has {size_in_bytes:,} bytes"
                print(f"{target.name}: {size_in_bytes:,} bytes")
    return 0


def _take(
    browser: Browser,
    world: World,
    place: str,
    theme: str,
    target: Path,
    *,
    size: str = "desk",
    height: int | None = None,
) -> list[str]:
    """Of the window if a height is given, else of the whole page; what is wrong with it."""
    path, shown = PLACES[place]
    context = new_context(browser, world.url, theme=theme, size=size)
    view = View(context.new_page())
    if height is not None:
        view.page.set_viewport_size({"width": SIZES[size][0], "height": height})
    view.open(world.fill(path))
    settled(view.page, shown)
    view.page.wait_for_load_state("load")
    # The page says Live once nothing is being asked for any more.
    view.page.get_by_role("button", name="Live:").wait_for()
    view.page.screenshot(path=target, animations="disabled", full_page=height is None)
    problems = view.problems()
    context.close()
    return problems


if __name__ == "__main__":
    sys.exit(main())
