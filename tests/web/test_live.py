"""A page brings itself up to date, within two seconds of a change, and lets its reader be."""

from __future__ import annotations

import time

from playwright.sync_api import Page, Route, expect

from tests.web.browser import Cut
from tests.web.conftest import OpenView
from tests.web.world import World

SECONDS_TO_SEE = 2.0


def _sign(page: Page, word: str) -> None:
    expect(page.get_by_role("button", name=f"{word}:")).to_be_visible()


def _until_api_says(world: World, run_id: str, state: str) -> None:
    """Wait at the service, asking often, so that what the page needs beyond that can be measured."""
    deadline = time.monotonic() + 60
    while world.client.get(f"/api/v1/runs/{run_id}").json()["state"] != state:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_page_follows_its_run_to_the_end_without_being_loaded_again(look: OpenView, world: World) -> None:
    run = world.start_long_run("followed on a page")
    view = look()
    page = view.page
    view.open(f"/runs/{run['run_id']}")
    _sign(page, "Live")
    page.evaluate("window.sameDocument = true")
    state = page.locator("h1 ~ p [data-state]")
    expect(state).to_have_text("Running")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    _until_api_says(world, run["run_id"], "CANCELED")
    expect(state).to_have_text("Canceled", timeout=SECONDS_TO_SEE * 1000)
    assert page.evaluate("window.sameDocument")
    assert view.problems() == []


def test_a_change_is_seen_in_the_list_within_two_seconds(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/")
    _sign(page, "Live")
    run = world.start_long_run("appears by itself")
    row = page.get_by_role("row").filter(has_text="appears by itself")
    expect(row.locator("[data-state]")).to_have_text("Running", timeout=SECONDS_TO_SEE * 1000)
    world.cancel(run)
    _until_api_says(world, run["run_id"], "CANCELED")
    expect(row.locator("[data-state]")).to_have_text("Canceled", timeout=SECONDS_TO_SEE * 1000)


def test_an_update_keeps_focus_and_what_is_typed(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/")
    _sign(page, "Live")
    link = page.get_by_role("link", name="still going")
    link.focus()
    page.evaluate("window.focused = document.activeElement")
    world.cancel(world.start_long_run("comes meanwhile"))
    expect(page.get_by_role("link", name="comes meanwhile")).to_be_visible()
    assert page.evaluate("window.focused === document.activeElement")


def test_updates_can_be_paused(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/")
    page.get_by_role("button", name="Live: pause updates").click()
    world.cancel(world.start_long_run("comes while it is paused"))
    page.get_by_role("button", name="Paused: resume updates").click()
    expect(page.get_by_role("link", name="comes while it is paused")).to_be_visible()
    _sign(page, "Live")


def test_without_the_stream_the_page_asks_by_itself(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    page.route("**/api/v1/events*", lambda route: route.abort())
    view.open("/")
    _sign(page, "Polling")
    world.cancel(world.start_long_run("found by asking"))
    expect(page.get_by_role("link", name="found by asking")).to_be_visible()
    page.unroute("**/api/v1/events*")
    _sign(page, "Live")


def test_a_bridge_that_does_not_answer_is_told_and_the_list_stays(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    connection = Cut(page, "**/api/v1/**", away=False)
    view.open("/")
    expect(page.get_by_role("link", name="nightly load")).to_be_visible()
    connection.away = True
    page.locator("label", has_text="Failed").click()
    expect(page.get_by_role("alert")).to_contain_text("the bridge does not answer", ignore_case=True)
    connection.away = False
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name="nightly load")).to_be_visible()


def test_a_backend_that_does_not_answer_makes_its_runs_stale(look: OpenView, world: World) -> None:
    since = "2026-08-01T00:00:00Z"

    def stale(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        if "backends" in body:
            body["backends"][0].update(stale_since=since, reachable=False, trouble="does not answer")
        for run in body.get("items", []):
            run["stale_since"] = since
        route.fulfill(response=answer, json=body)

    view = look()
    page = view.page
    page.route("**/api/v1/status", stale)
    page.route("**/api/v1/runs?*", stale)
    view.open("/")
    expect(page.get_by_role("status").filter(has_text="Backend default does not answer")).to_be_visible()
    expect(page.get_by_role("link", name="stale").first).to_be_visible()
    assert view.problems() == []
    assert view.accessibility() == []
