"""Every page in both themes, on a phone and at a desk: nothing sticks out, nothing is refused, axe finds
nothing, and every state has its word."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import OpenView
from tests.web.world import World

# Each page by where it is and what it shows once it is there; `{kind}` is the id of a run of the world.
PLACES = {
    "runs": ("/", "table"),
    "filtered": ("/?state=FAILED&text=night&pipeline=failing", "table"),
    "no match": ("/?text=nothing+is+called+this", "text=No run matches"),
    "unknown run": ("/runs/00000000-0000-4000-8000-000000000000", "text=Not found"),
    "nasty": ("/runs/{nasty}", "[data-testid=timeline]"),
    "broken": ("/runs/{broken}", "text=the last good run"),
    "refused": ("/runs/{refused}", "text=gate not passed"),
    "canceled": ("/runs/{canceled}", "[data-testid=timeline]"),
    "running": ("/runs/{running}", "[data-testid=timeline]"),
    "task": ("/runs/{shapes}?task=conclude", "[data-testid=log]"),
    "graph": ("/runs/{shapes}?tab=graph", "[data-testid=graph] button >> nth=3"),
    "metrics": ("/runs/{judged}?tab=metrics", "canvas"),
    "artifacts": ("/runs/{judged}?tab=artifacts", "text=model"),
    "parameters": ("/runs/{nasty}?tab=parameters", "dl"),
    "logs": ("/runs/{failed}?tab=logs", "[data-testid=log] >> nth=1"),
    "events": ("/runs/{failed}?tab=events", "text=settled"),
    "status": ("/backends", "article"),
    "cost": ("/cost", "table"),
    "on call": ("/oncall", "article"),
    "explain": ("/runs/{refused}?tab=explain", "text=Run it again"),
    "pipelines": ("/pipelines", "td ol"),
    "pipeline": ("/pipelines/delay-train", "canvas"),
    "compare": ("/compare?run={night3}&run={night4}&run={night5}&all=yes", "canvas"),
    "choose runs": ("/compare", "text=Choose two to five runs"),
    "lineage": ("/lineage?node=run:{night6}&view=graph", "[data-testid=graph] [data-node] >> nth=12"),
    "lineage as a list": ("/lineage?node=run:{night6}&view=list", "[data-testid=list]"),
}
# What is not there is asked for, and told; nothing else may go wrong.
_MISSING = {"unknown run"}
_STATES = """() => [...document.querySelectorAll("[data-state]")].map((one) => ({
  word: one.textContent.trim(), icons: one.querySelectorAll("svg[aria-hidden=true]").length}))"""


def settled(page: Page, shown: str) -> None:
    """Wait until the page shows what it is there for, and waits for nothing more."""
    expect(page.locator(shown).first).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


@pytest.mark.parametrize(("theme", "size"), [("light", "desk"), ("dark", "phone")])
@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_sound(look: OpenView, world: World, place: str, theme: str, size: str) -> None:
    path, shown = PLACES[place]
    view = look(theme=theme, size=size)
    answer = view.open(world.fill(path))
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    settled(view.page, shown)
    problems = view.problems()
    assert [one for one in problems if place not in _MISSING or not one.startswith("404")] == []
    assert view.accessibility() == []
    states = view.page.evaluate(_STATES)
    assert all(one["word"] and one["icons"] == 1 for one in states), states
    ground = view.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(15, 19, 25)") == (theme == "dark")


@pytest.mark.parametrize(("theme", "size"), [("light", "phone"), ("dark", "desk")])
@pytest.mark.parametrize("place", ["runs", "broken"])
def test_so_are_those_that_are_looked_at_most_the_other_way_round(
    look: OpenView, world: World, place: str, theme: str, size: str
) -> None:
    test_a_page_is_sound(look, world, place, theme, size)


@pytest.mark.parametrize(("theme", "size"), [("light", "phone"), ("dark", "desk")])
def test_the_page_of_an_empty_history_says_what_to_do(
    look: OpenView, empty_url: str, theme: str, size: str
) -> None:
    view = look(theme=theme, size=size, base_url=empty_url)
    view.open("/")
    settled(view.page, "text=No runs yet")
    assert f"KFBRIDGE_URL={empty_url} kfbridge submit" in view.page.inner_text("main")
    assert view.problems() == []
    assert view.accessibility() == []


@pytest.mark.parametrize("width", [320, 640, 993])
@pytest.mark.parametrize("place", ["runs", "broken", "nasty"])
def test_every_width_fits(look: OpenView, world: World, place: str, width: int) -> None:
    """320 is a small phone, or a desk at four times the size; 993 is where lines become a table."""
    path, shown = PLACES[place]
    view = look()
    view.page.set_viewport_size({"width": width, "height": 800})
    view.open(world.fill(path))
    settled(view.page, shown)
    assert view.problems() == []


def test_the_theme_is_the_system_s_until_somebody_chooses(look: OpenView) -> None:
    view = look(theme="dark")
    page = view.page
    view.open("/")
    html = page.locator("html")
    expect(html).to_have_attribute("data-mantine-color-scheme", "dark")
    page.get_by_role("button", name="Theme: as the system").click()
    expect(html).to_have_attribute("data-mantine-color-scheme", "light")
    page.reload()
    expect(html).to_have_attribute("data-mantine-color-scheme", "light")
    assert view.problems() == []
