"""Every page in both themes, on a phone and at a desk: nothing sticks out, nothing is refused, axe finds
nothing, and every state has its word."""

from __future__ import annotations

import pytest

from tests.web.browser import SIZES, THEMES
from tests.web.conftest import OpenView
from tests.web.world import World

RUNS = ("nasty", "failed", "shapes", "refused", "canceled", "running")
_STATES = """() => [...document.querySelectorAll(".state")].map((one) => ({
  word: one.innerText.trim(), icons: one.querySelectorAll("svg[aria-hidden=true]").length}))"""

both_themes = pytest.mark.parametrize("theme", THEMES)
both_sizes = pytest.mark.parametrize("size", SIZES)


@both_themes
@both_sizes
@pytest.mark.parametrize("place", ["list", "filtered", "no match", "unknown run", *RUNS])
def test_a_page_is_sound(look: OpenView, world: World, place: str, theme: str, size: str) -> None:
    paths = {
        "list": "/",
        "filtered": "/?state=FAILED&text=night&pipeline=failing",
        "no match": "/?text=nothing+is+called+this",
        "unknown run": "/runs/00000000-0000-4000-8000-000000000000",
    }
    view = look(theme=theme, size=size)
    answer = view.open(paths.get(place) or world.path(place))
    assert answer.status == (404 if place == "unknown run" else 200)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert view.problems() == []
    assert view.accessibility() == []
    states = view.page.evaluate(_STATES)
    assert all(one["word"] and one["icons"] == 1 for one in states), states
    assert bool(states) == (place not in ("no match", "unknown run"))
    ground = view.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(15, 19, 25)") == (theme == "dark")


@both_themes
@both_sizes
def test_the_page_of_an_empty_history_says_what_to_do(
    look: OpenView, empty_url: str, theme: str, size: str
) -> None:
    view = look(theme=theme, size=size, base_url=empty_url)
    view.open("/")
    assert view.page.get_by_role("heading", name="No runs yet").is_visible()
    assert f"KFBRIDGE_URL={empty_url} kfbridge submit" in view.page.inner_text("main")
    assert view.problems() == []
    assert view.accessibility() == []


@pytest.mark.parametrize("width", [320, 640, 961, 1100])
@pytest.mark.parametrize("place", ["list", "refused", "nasty"])
def test_every_width_fits(look: OpenView, world: World, place: str, width: int) -> None:
    """320 is a small phone, or a desk at four times the size; 961 is where lines become a table."""
    view = look()
    view.page.set_viewport_size({"width": width, "height": 800})
    view.open("/" if place == "list" else world.path(place))
    assert view.problems() == []


def test_the_pages_work_without_scripts(look: OpenView, world: World) -> None:
    view = look(script=False)
    view.open("/")
    refresh = view.page.locator("meta[http-equiv=refresh]")
    assert refresh.get_attribute("content") == "3"
    view.page.get_by_role("link", name="nightly load").click()
    assert view.page.get_by_role("heading", name="Failed in explode").is_visible()
    assert refresh.count() == 0
