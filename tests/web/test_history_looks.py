"""The pages about more than one run in both themes, on a phone and at a desk."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.web.browser import SIZES, THEMES
from tests.web.conftest import OpenView
from tests.web.history import PIPELINE
from tests.web.world import World

# Each page by where it is and what it shows once it is there.
PLACES = {
    "pipelines": ("/pipelines", "td ol"),
    "pipeline": (f"/pipelines/{PIPELINE}", "canvas"),
    "compare": ("/compare?run={night3}&run={night4}&run={night5}&all=yes", "canvas"),
    "choose runs": ("/compare", "text=Choose two to five runs"),
    "grid": ("/pipelines/shapes", "[data-testid=peek]"),
}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_sound(look: OpenView, world: World, place: str, theme: str, size: str) -> None:
    path, shown = PLACES[place]
    view = look(theme=theme, size=size)
    view.open(path.format_map({kind: run["run_id"] for kind, run in world.runs.items()}))
    expect(view.page.locator(shown).first).to_be_visible()
    expect(view.page.locator("[aria-busy=true]")).to_have_count(0)
    assert view.problems() == []
    assert view.accessibility() == []
