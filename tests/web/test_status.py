"""The Status page: backends and their switch, what is set aside, who is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from bridge.lineage import quarantine
from bridge.lineage.database import Database
from tests.integration.service.calls import submit, wait_until
from tests.integration.service.pipelines import trains
from tests.web.browser import Cut
from tests.web.conftest import OpenView
from tests.web.world import World

NOBODY = "http://127.0.0.1:1/hooks"

_STOPPING = {
    "type": "urn:kfbridge:problem:stopping",
    "title": "The service is stopping",
    "status": 503,
    "detail": "the service is about to end",
    "retryable": True,
}


@pytest.fixture
def sending(world: World) -> Iterator[None]:
    """The backend is sent to again afterwards."""
    yield
    world.client.post("/api/v1/backends/default:resume", json={}).raise_for_status()


def test_a_backend_is_paused_and_resumed_and_runs_wait_meanwhile(
    look: OpenView, world: World, sending: None
) -> None:
    view = look()
    page = view.page
    view.open("/backends")
    backend = page.get_by_role("article", name="Backend default")
    expect(backend.get_by_text("Answers")).to_be_visible()
    expect(backend.get_by_role("row", name="default")).to_contain_text("of 200")
    page.get_by_role("button", name="Pause backend default").click()
    dialog = page.get_by_role("dialog", name="Pause backend default?")
    dialog.get_by_label("Reason").fill("new disks")
    dialog.get_by_role("button", name="Pause").click()
    expect(dialog).to_be_hidden()
    expect(backend.get_by_role("status")).to_contain_text("Nothing new is sent here")
    expect(backend.get_by_role("status")).to_contain_text("new disks")
    expect(page.get_by_role("list", name="What needs attention")).to_contain_text("Backend default is paused")

    run = submit(world.client, trains(), display_name="held back", arguments={"epochs": 1})
    assert (
        world.client.get(f"/api/v1/runs/{run['run_id']}")
        .json()["waiting"]
        .startswith("queued: backend default is paused (new disks)")
    )
    page.reload()
    expect(backend.get_by_role("link", name="1", exact=True).last).to_be_visible()
    page.get_by_role("button", name="Resume backend default").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 run that waits will be sent")
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(backend.get_by_text("Nothing new is sent here")).to_be_hidden()
    wait_until(world.client, run, over=True, state="SUCCEEDED")
    assert view.problems() == []


def test_a_drain_by_keyboard_alone_and_its_news_from_elsewhere(
    look: OpenView, world: World, sending: None
) -> None:
    view = look()
    page = view.page
    view.open("/backends")
    page.get_by_role("button", name="Drain backend default").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("kernel update")
    page.keyboard.press("Enter")
    backend = page.get_by_role("article", name="Backend default")
    expect(backend.get_by_text("Draining: 1 run left")).to_be_visible()
    assert view.accessibility() == []
    # Somebody else resumes it: the page hears of it.
    world.client.post("/api/v1/backends/default:resume", json={}).raise_for_status()
    expect(backend.get_by_text("Draining")).to_be_hidden(timeout=3000)
    assert view.problems() == []


def test_a_refused_pause_is_told_where_it_was_asked_for(look: OpenView) -> None:
    view = look()
    page = view.page
    page.route("**/backends/default:pause", lambda route: route.fulfill(status=503, json=_STOPPING))
    view.open("/backends")
    page.get_by_role("button", name="Pause backend default").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_role("dialog")).to_contain_text("about to end")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_what_is_set_aside_is_listed_and_released(look: OpenView, world: World) -> None:
    failed = world.runs["failed"]
    database = Database(world.database_url)

    def write(session: object) -> None:
        for subject, run_id in ((failed["run_id"], failed["run_id"]), ("row 7", None)):
            quarantine.set_aside(
                session,  # type: ignore[arg-type]
                backend="default",
                project="default",
                work="mirror" if run_id else "list",
                subject=subject,
                run_id=run_id,
                reason="KfpBadAnswer: <b>created_at</b> is no time",
                failures=5,
            )

    database.transact(write)
    database.close()
    view = look()
    page = view.page
    view.open("/backends")
    rows = page.get_by_role("list", name="Work that is set aside").get_by_role("listitem")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("<b>created_at</b> is no time")
    expect(rows.first.get_by_role("link")).to_have_attribute("href", world.path("failed"))
    assert view.accessibility() == []
    page.get_by_role("button", name="Release list of row 7").click()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Release mirror of").click()
    expect(page.get_by_text("Nothing is set aside:")).to_be_visible()
    assert world.client.get("/api/v1/quarantine").json()["items"] == []
    assert view.problems() == []


def test_a_webhook_that_fails_is_told(look: OpenView, world: World, sending: None) -> None:
    body = {"url": NOBODY, "types": ["backend.*"], "description": "pager"}
    hook = world.client.post("/api/v1/webhooks", json=body).raise_for_status().json()
    try:
        world.client.post("/api/v1/backends/default:pause", json={}).raise_for_status()
        view = look()
        view.open("/backends")
        told = view.page.get_by_role("list", name="Who is told of events").get_by_role("listitem")
        expect(told).to_contain_text("failing", timeout=20_000)
        expect(told).to_contain_text("pager")
        expect(view.page.get_by_role("link", name="1 webhook not taking messages")).to_be_visible()
        assert view.accessibility() == []
        assert view.problems() == []
    finally:
        world.client.delete(f"/api/v1/webhooks/{hook['webhook_id']}").raise_for_status()


def test_a_bridge_that_does_not_answer_is_told_and_asked_again(look: OpenView) -> None:
    view = look()
    page = view.page
    connection = Cut(page, "**/api/v1/status")
    view.open("/backends")
    expect(page.get_by_role("heading", name="The status cannot be shown")).to_be_visible(timeout=20_000)
    connection.away = False
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("article", name="Backend default")).to_be_visible()
