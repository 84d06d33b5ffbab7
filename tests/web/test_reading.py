"""What a reader finds on the pages, and how they get there with a keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.browser import SIZES, View
from tests.web.conftest import OpenView
from tests.web.world import FAILURE, NASTY_NAME, World

_NUMBER_STOPS = """() => {
  const stops = [...document.querySelectorAll(
    "a[href], button, input, select, summary, [tabindex='0']")].filter((one) => one.checkVisibility());
  stops.forEach((one, index) => (one.dataset.stop = index));
  return stops.length;
}"""
_FOCUSED = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  const seen = box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.left < innerWidth;
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return {stop: one.dataset.stop ?? null, seen, ring, what: one.outerHTML.slice(0, 100)};
}"""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", ["list", "failed", "shapes"])
def test_everything_is_reached_by_tab_with_visible_focus(
    look: OpenView, world: World, place: str, size: str
) -> None:
    view = look(size=size)
    # A list of finished runs only: one that goes on replaces its rows while we walk.
    view.open("/?state=SUCCEEDED&backend=default" if place == "list" else world.path(place))
    count = view.page.evaluate(_NUMBER_STOPS)
    assert count > 10
    reached = set()
    for _ in range(count):
        view.page.keyboard.press("Tab")
        focused = view.page.evaluate(_FOCUSED)
        assert focused["seen"], focused
        assert focused["ring"], focused
        reached.add(focused["stop"])
    assert reached == {str(index) for index in range(count)}


def test_the_first_stop_skips_to_the_content(look: OpenView, world: World) -> None:
    view = look()
    view.open(world.path("shapes"))
    view.page.keyboard.press("Tab")
    view.page.keyboard.press("Enter")
    view.page.keyboard.press("Tab")
    assert view.page.evaluate("document.activeElement.closest('nav').ariaLabel") == "Place"


def test_filters_work_and_stay_in_the_address(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/")
    page.get_by_label("State").select_option("Failed")
    page.get_by_label("name contains").fill("NIGHT")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{world.url}/?state=FAILED&text=NIGHT")
    assert _names(page) == ["nightly load"]
    page.reload()
    assert page.get_by_label("State").input_value() == "FAILED"
    assert page.get_by_label("name contains").input_value() == "NIGHT"
    page.get_by_label("State").select_option("any state")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(f"{world.url}/?text=NIGHT")
    page.get_by_role("link", name="Show all runs").click()
    expect(page).to_have_url(f"{world.url}/")
    assert len(_names(page)) >= 6


def test_a_filter_without_a_field_is_a_chip_that_can_be_taken_away(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/?state=SUCCEEDED")
    page.get_by_role("cell").get_by_role("link", name="shapes", exact=True).click()
    expect(page).to_have_url(f"{world.url}/?pipeline=shapes")
    page.get_by_label("State").select_option("Succeeded")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"/\?state=SUCCEEDED&pipeline=shapes$"))
    assert _names(page) == ["shapes above"]
    page.get_by_role("link", name="Without pipeline shapes").click()
    expect(page).to_have_url(f"{world.url}/?state=SUCCEEDED")


def test_a_filter_that_is_none_is_told_on_a_page(look: OpenView) -> None:
    view = look()
    assert view.open("/?state=BROKEN").status == 422
    assert "BROKEN is no state" in view.page.inner_text("main")


def test_a_failed_run_shows_the_component_and_the_end_of_its_log(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(world.path("failed"))
    error = page.get_by_role("region", name="Failed in explode")
    assert FAILURE in error.locator(".message").inner_text()
    tail = error.locator(".tail")
    assert tail.inner_text().rstrip().endswith(f"ValueError: {FAILURE}")
    overflowing, last_line_seen = tail.evaluate(
        """(box) => [box.scrollHeight > box.clientHeight,
          box.firstElementChild.getBoundingClientRect().bottom <= box.getBoundingClientRect().bottom + 1]"""
    )
    assert overflowing
    assert last_line_seen
    whole = page.request.get(str(error.get_by_role("link", name="Whole log").get_attribute("href")))
    assert whole.ok
    assert "line 1 of 60" in whole.text()


def test_what_others_wrote_is_text(look: OpenView, world: World) -> None:
    shown = NASTY_NAME.replace("\N{RIGHT-TO-LEFT OVERRIDE}", "\N{REPLACEMENT CHARACTER}")
    view = look()
    view.open(world.path("nasty"))
    assert view.page.locator("h1").text_content() == shown
    assert view.page.locator("main script, main img, main b").count() == 0
    view.open("/?pipeline=hello")
    link = view.page.get_by_role("cell").get_by_role("link").filter(has_text="alert")
    assert link.text_content() == shown
    box = link.bounding_box()
    assert box is not None
    assert box["height"] < 90, "a long name takes three lines of the list at most"
    assert view.problems() == []


def test_tasks_are_a_tree_and_metrics_are_told(look: OpenView, world: World) -> None:
    view = look()
    view.open(world.path("shapes"))
    tasks = view.page.locator("table.tasks tbody tr")
    left = {_text(tasks.nth(index), "bdi"): _left(view, index) for index in range(tasks.count())}
    assert left["exit-handler-1"] < left["sum-of-squares"] < left["for-loop-1"] < left["square"]
    assert left["conclude"] == left["exit-handler-1"]
    tiles = view.page.locator("dl.tiles").inner_text().split()
    assert tiles == ["count", "3", "total", "38"]


def test_a_run_from_a_dag_names_job_data_and_gate(look: OpenView, world: World) -> None:
    view = look()
    view.open(world.path("refused"))
    page = view.page
    assert "delay_model_retraining.train" in page.get_by_role("region", name="Identity").inner_text()
    gate = page.get_by_role("region", name="Gate").inner_text()
    assert "not passed" in gate
    assert "evaluate.auc >= 0.9" in gate
    data = page.get_by_role("region", name="Data it read").locator("tbody tr")
    assert data.count() == 3
    assert "1,684" in data.nth(1).inner_text()
    assert "flights_etl.load_day" in data.nth(1).inner_text()


def test_times_are_told_both_ways(look: OpenView, world: World) -> None:
    view = look()
    view.open("/")
    times = view.page.locator("td time").first
    assert re.search(r"(just now|ago)\s+\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", times.inner_text())
    assert "tabular-nums" in times.evaluate("(one) => getComputedStyle(one).fontVariantNumeric")


def _names(page: Page) -> list[str]:
    return page.locator("td.name a").all_inner_texts()


def _text(row: Locator, selector: str) -> str:
    return row.locator(selector).first.inner_text()


def _left(view: View, index: int) -> float:
    box = view.page.locator("table.tasks tbody tr").nth(index).locator("bdi").first.bounding_box()
    assert box is not None
    return box["x"]
