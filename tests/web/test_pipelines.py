"""The list of pipelines and a pipeline's page: its grid, its trend, what is said when there is nothing."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.integration.service.calls import submit, wait_until
from tests.integration.service.pipelines import sleeps
from tests.web.conftest import OpenView
from tests.web.history import BAD_NIGHT, FAILED_NIGHT, OWNER, PIPELINE, RUNBOOK
from tests.web.world import World

PATH = f"/pipelines/{PIPELINE}"


def test_the_list_leads_to_a_pipeline_and_its_grid_to_a_run(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/pipelines")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=PIPELINE))
    expect(row.get_by_role("listitem")).to_have_count(7)
    expect(row).to_contain_text(f"owner {OWNER}")
    row.get_by_role("link", name=PIPELINE).click()
    expect(page).to_have_url(f"{world.url}{PATH}")
    expect(page.get_by_role("heading", level=1, name=PIPELINE)).to_be_visible()
    expect(page.get_by_role("link", name="Runbook")).to_have_attribute("href", RUNBOOK)
    evaluated = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="evaluate"))
    words = [text.strip() for text in evaluated.get_by_role("cell").all_text_contents()]
    assert words == ["Failed" if night == FAILED_NIGHT else "Succeeded" for night in range(7)]

    failed = page.get_by_role("link", name=re.compile(r"^delays of 2013-01-08: Failed"))
    failed.focus()
    expect(page.get_by_test_id("peek")).to_contain_text("smoothing is negative")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{world.url}{world.path(f'night{FAILED_NIGHT}')}")
    assert view.problems() == []


def test_a_regression_is_marked_by_a_rule_in_words(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(PATH)
    expect(page.locator("canvas")).to_be_visible()
    expect(page.get_by_test_id("rule")).to_contain_text("below the median of the last 10 good runs")
    expect(page.get_by_test_id("rule")).to_contain_text("evaluate.auc >= median - 3 * spread")
    worse = page.get_by_role("listitem").filter(has_text="2013-01-07")
    expect(worse).to_contain_text("0.5556")
    page.get_by_text("The numbers as a table").click()
    assert page.get_by_role("table").filter(has_text="Judged").get_by_role("row").count() == 8
    worse.get_by_role("link", name="What differed").click()
    good, bad = (world.runs[f"night{night}"]["run_id"] for night in (BAD_NIGHT - 1, BAD_NIGHT))
    expect(page).to_have_url(f"{world.url}/compare?run={good}&run={bad}")


def test_the_number_of_the_trend_stays_in_the_address(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(PATH)
    page.get_by_label("Number").select_option("evaluate.loss")
    expect(page.get_by_test_id("rule")).to_contain_text("evaluate.loss <= median + 3 * spread")
    expect(page).to_have_url(f"{world.url}{PATH}?metric=evaluate.loss")
    page.reload()
    expect(page.get_by_test_id("rule")).to_contain_text("evaluate.loss <= median + 3 * spread")
    assert page.get_by_label("Number").input_value() == "evaluate.loss"
    page.get_by_label("Number").select_option("duration")
    expect(page.get_by_role("img", name=re.compile("^duration of 7 runs"))).to_be_visible()


def test_a_new_run_comes_into_the_grid_by_itself(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/pipelines/sleeps")
    columns = page.locator("thead th[data-run]")
    expect(columns.first).to_be_visible()
    before = columns.count()
    run = submit(world.client, sleeps(0), display_name="seen in the grid")
    expect(page.get_by_role("link", name=re.compile("^seen in the grid: Succeeded"))).to_be_visible()
    expect(columns).to_have_count(before + 1)
    wait_until(world.client, run, over=True)
    assert view.problems() == []


def test_what_is_not_there_is_said(look: OpenView, empty_url: str) -> None:
    view = look(base_url=empty_url)
    view.open("/pipelines")
    expect(view.page.get_by_role("heading", name="No pipelines yet")).to_be_visible()
    view.open("/pipelines/nowhere")
    expect(view.page.get_by_role("heading", name="Not found")).to_be_visible()
    expect(view.page.get_by_role("alert")).to_contain_text("nowhere")


def test_a_list_that_cannot_be_had_can_be_asked_for_again(look: OpenView) -> None:
    view = look()
    page = view.page
    page.route(
        "**/api/v1/pipelines?*", lambda route: route.fulfill(status=403, json={"detail": "not for you"})
    )
    view.open("/pipelines")
    expect(page.get_by_role("alert")).to_contain_text("Not for you")
    # Or an event of a run has the page ask by itself before the press.
    page.get_by_role("button", name="Live: pause updates").click()
    page.unroute("**/api/v1/pipelines?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name=PIPELINE)).to_be_visible()
