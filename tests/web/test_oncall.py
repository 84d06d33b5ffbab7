"""The On call page: failures by cause, and what is done about a group of them."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.integration.service.calls import submit, wait_until
from tests.integration.service.pipelines import fails
from tests.web.conftest import OpenView
from tests.web.world import DEPLOYMENT, World

_ORIGIN = {
    "scheduler": "airflow",
    "dag_id": "nightly_dag",
    "dag_run_id": "scheduled__2013-01-05T02:00:00+00:00",
    "dag_run_start": "2013-01-05T02:00:01Z",
    "task_id": "load",
    "logical_date": "2013-01-05T02:00:00Z",
}


@pytest.fixture(scope="module")
def failures(world: World) -> list[dict[str, Any]]:
    """Two more runs that failed: one that somebody asked for, one that Airflow did."""
    labels = {"owner": "team-risk", "runbook": "https://runbooks.example.com/flights"}
    accepted = [
        submit(world.client, fails(), display_name="by hand", labels=labels),
        submit(world.client, fails(), display_name="by airflow", labels=labels, origin=_ORIGIN),
    ]
    return [wait_until(world.client, run, over=True, state="FAILED") for run in accepted]


def group(page: Page) -> Any:
    """The group that the two are in."""
    return page.get_by_role("article").filter(has_text="no flights on that day").first


def test_failures_stand_by_cause_with_owner_runbook_and_runs(
    look: OpenView, world: World, failures: list[dict[str, Any]]
) -> None:
    view = look()
    page = view.page
    view.open("/oncall")
    found = group(page)
    expect(found).to_contain_text("team-risk")
    expect(found.get_by_role("link", name="Runbook")).to_have_attribute(
        "href", "https://runbooks.example.com/flights"
    )
    found.locator("summary").click()
    expect(found.get_by_role("link", name="by airflow")).to_have_attribute(
        "href", f"/runs/{failures[1]['run_id']}"
    )
    page.get_by_label("Failures of the").select_option("Last hour")
    expect(page).to_have_url(f"{world.url}/oncall?window=1h")
    page.reload()
    expect(page.get_by_label("Failures of the")).to_have_value("1h")
    expect(group(page)).to_be_visible()
    assert view.accessibility() == []
    assert view.problems() == []


def test_a_group_is_retried_by_keyboard_and_airflow_s_part_is_a_command(
    look: OpenView, world: World, failures: list[dict[str, Any]]
) -> None:
    view = look()
    page = view.page
    view.open("/oncall")
    button = group(page).get_by_role("button", name="Retry")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("group", name="commands that clear the tasks in Airflow")).to_contain_text(
        "airflow tasks clear nightly_dag -t '^load$' -s 2013-01-05T02:00:00Z"
    )
    assert view.accessibility() == []
    act = dialog.get_by_role("button", name="Retry 1 run").or_(
        dialog.get_by_role("button", name="Retry 2 runs")
    )
    act.focus()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("status").filter(has_text="asked for")).to_be_visible()
    by_hand, by_airflow = [world.client.get(f"/api/v1/runs/{run['run_id']}").json() for run in failures]
    assert (by_hand["revivals"], by_airflow["revivals"]) == (1, 0)
    wait_until(world.client, by_hand, over=True, state="FAILED")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_task_is_cleared_in_airflow_from_the_pages(look: OpenView, world: World) -> None:
    origin = _ORIGIN | {"deployment": DEPLOYMENT, "dag_id": "cleared_dag"}
    run = submit(world.client, fails(), display_name="cleared here", origin=origin)
    wait_until(world.client, run, over=True, state="FAILED")
    place = ("cleared_dag", str(_ORIGIN["dag_run_id"]), "load", -1)
    world.airflow.states[place] = "deferred"
    world.airflow.after["load"] = ["publish"]
    view = look()
    page = view.page
    view.open(f"/runs/{run['run_id']}")
    page.get_by_role("button", name="Retry").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Clear the task in Airflow").click()
    expect(dialog).to_contain_text("its state there is deferred")
    expect(dialog.get_by_role("group", name="command that clears the task")).to_contain_text(" -d -y")
    assert view.accessibility() == []
    world.airflow.states[place] = "failed"
    dialog.get_by_role("button", name="Clear the task in Airflow").click()
    expect(dialog.get_by_role("status")).to_contain_text("Airflow cleared load, publish")
    dialog.get_by_role("link", name="The runs of this DagRun").click()
    expect(page.get_by_role("link", name="cleared here")).to_be_visible()
    world.airflow.states[place] = "failed"
    view.open("/oncall")
    group(page).get_by_role("button", name="Retry").click()
    expect(dialog).to_contain_text("cleared there, with what comes after")
    page.keyboard.press("Escape")
    assert [one for one in view.problems() if not one.startswith("409 ")] == []


def test_stuck_runs_are_canceled_and_what_never_started_is_told(look: OpenView, world: World) -> None:
    run = world.start_long_run("goes on for ever")
    brief = {
        **world.client.get("/api/v1/oncall").json()["failures"][0]["runs"][0],
        "run_id": run["run_id"],
        "display_name": "goes on for ever",
    }
    care = {"owner": "team-risk", "runbook": None}
    times = {"running_seconds": 7200, "usual_seconds": 600, "limit_seconds": 900, "why": "longer than usual"}
    late = {"every_seconds": 3600, "expected_at": "2026-01-01T00:00:00Z", "late_seconds": 5400}
    told = {
        "since": "2026-01-01T00:00:00Z",
        "now": "2026-01-01T01:00:00Z",
        "window_seconds": 86400,
        "failures": [],
        "stuck": [{**brief, **times, **care}],
        "missing": [
            {"pipeline": "nightly", "project": "default", "dag_id": "d", "last_run": brief, **late, **care}
        ],
        "truncated": True,
    }
    view = look(size="phone", theme="dark")
    page = view.page
    page.route("**/api/v1/oncall?*", lambda route: route.fulfill(json=told))
    view.open("/oncall")
    expect(page.get_by_role("list", name="Runs that are stuck")).to_contain_text(
        "2 h 0 min so far, usually 10 min 0 s"
    )
    expect(page.get_by_role("list", name="Runs that never started")).to_contain_text("1 h 30 min late")
    assert view.accessibility() == []
    assert view.problems() == []
    page.get_by_role("button", name="Cancel it").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel 1 run").click()
    expect(
        page.get_by_role("dialog").get_by_role("status").filter(has_text="1 of 1 asked for")
    ).to_be_visible()
    wait_until(world.client, run, over=True, state="CANCELED")


def test_nothing_to_do_and_no_answer_are_told(look: OpenView, empty_url: str) -> None:
    view = look(base_url=empty_url)
    view.open("/oncall")
    expect(view.page.get_by_role("heading", name="Nothing to do")).to_be_visible()
    assert view.accessibility() == []
    assert view.problems() == []
    view.page.route(
        "**/api/v1/oncall?*", lambda route: route.fulfill(status=422, json={"detail": "no such window"})
    )
    view.open("/oncall?window=1y")
    expect(view.page.get_by_role("heading", name="This page cannot be shown")).to_be_visible()
