"""A page of something that goes on brings itself up to date, and lets its reader be."""

from __future__ import annotations

from playwright.sync_api import Route, expect

from tests.web.conftest import OpenView
from tests.web.world import World


def test_a_page_follows_its_run_to_the_end_without_being_loaded_again(look: OpenView, world: World) -> None:
    run = world.start_long_run("followed on a page")
    view = look()
    page = view.page
    view.open(f"/runs/{run['run_id']}")
    page.evaluate("window.sameDocument = true")
    expect(page.locator(".lead")).to_contain_text("Running")
    world.cancel(run)
    expect(page.locator(".lead")).to_contain_text("Canceled")
    expect(page.locator("#live-text")).to_have_text("Up to date")
    expect(page.get_by_role("status").first).to_have_text("Canceled: followed on a page · kfbridge")
    assert page.get_by_role("button", name="Pause updates").is_hidden()
    assert page.evaluate("window.sameDocument")
    assert view.problems() == []


def test_an_update_keeps_focus_and_what_is_typed(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/")
    page.get_by_label("name contains").fill("half a wo")
    page.get_by_role("link", name="still going").focus()
    with page.expect_response(f"{world.url}/"):
        pass
    with page.expect_response(f"{world.url}/"):
        pass
    assert page.evaluate("document.activeElement.innerText") == "still going"
    assert page.get_by_label("name contains").input_value() == "half a wo"


def test_an_update_keeps_open_what_was_opened(look: OpenView, world: World) -> None:
    details = '<div class="panel"><details><summary>Many metrics</summary>all of them</details></div>'

    def serve(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("</main>", f"{details}</main>"))

    view = look()
    page = view.page
    page.route("**/runs/*", serve)
    view.open(world.path("running"))
    page.get_by_text("Many metrics").click()
    for _ in range(2):
        with page.expect_response(f"{world.url}{world.path('running')}"):
            pass
    assert page.get_by_text("all of them").is_visible()


def test_updates_can_be_paused(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    page.clock.install()
    view.open(world.path("running"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.resource_type))
    page.get_by_role("button", name="Pause updates").click()
    page.clock.run_for(30_000)
    assert "fetch" not in asked
    expect(page.locator("#live-text")).to_have_text("Paused")
    with page.expect_response(f"{world.url}{world.path('running')}"):
        page.get_by_role("button", name="Resume updates").click()
    expect(page.locator("#live-text")).to_have_text("Live")


def test_a_bridge_that_does_not_answer_is_told(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(world.path("running"))
    page.route("**/runs/*", lambda route: route.abort())
    expect(page.locator("#live-text")).to_have_text("The bridge does not answer; trying again")
    page.unroute("**/runs/*")
    expect(page.locator("#live-text")).to_have_text("Live")
