"""Takes the pictures of the documentation from a bridge that runs, such as the one of ``make demo``:

.venv/bin/python -m tests.web.pictures http://127.0.0.1:8700
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Browser

from tests.web.browser import View, new_context, running_browser

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
_LARGEST_BYTES = 200 * 1024
_LIST_HEIGHT = 800
_RUN_HEIGHT = 1250


def main() -> int:
    """Writes ``runs.png`` and ``run.png``, the newest good run with metrics; 1 if there is none."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.pictures", description=__doc__)
    parser.add_argument("url", help="the bridge to look at")
    url = parser.parse_args().url.rstrip("/")
    run_id = _newest_with_metrics(url)
    if run_id is None:
        print("no good run there has metrics", file=sys.stderr)
        return 1
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with running_browser() as browser:
        _take(browser, url, "/", _FOLDER / "runs.png", _LIST_HEIGHT)
        _take(browser, url, f"/runs/{run_id}", _FOLDER / "run.png", _RUN_HEIGHT)
    return 0


def _newest_with_metrics(url: str) -> str | None:
    with httpx.Client(base_url=url) as client:
        runs = client.get("/api/v1/runs", params={"state": "SUCCEEDED", "limit": 200}).raise_for_status()
        for run in runs.json()["items"]:
            metrics = client.get(f"/api/v1/runs/{run['run_id']}/metrics").raise_for_status().json()
            if run["good"] and run["gate"] and metrics["scalars"]:
                return str(run["run_id"])
    return None


def _take(browser: Browser, url: str, path: str, target: Path, height: int) -> None:
    context = new_context(browser, url)
    view = View(context.new_page())
    view.open(path)
    view.page.set_viewport_size({"width": 1280, "height": height})
    view.page.screenshot(path=target)
    assert view.problems() == [], view.problems()
    context.close()
    size = target.stat().st_size
    assert size <= _LARGEST_BYTES, f"{target.name} has {size:,} bytes"
    print(f"{target.name}: {size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
