"""The lineage: from a model back to the Airflow task and the partitions behind it, and from these forward."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import OpenView
from tests.web.world import AIRFLOW_URL, World

PARTITION = "…/month=01/day=03/flights.parquet"


def test_a_model_leads_back_to_the_airflow_task_and_the_partitions(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(f"/lineage?node={_model(world, 'night4')}")
    expect(page.get_by_role("heading", level=1, name="Lineage of model")).to_be_visible()
    expect(page.get_by_test_id("summary")).to_contain_text("3 Airflow tasks")
    graph = page.get_by_test_id("graph")
    for day in (3, 4, 5):
        expect(graph.get_by_role("button", name=re.compile(f"^data .*day=0{day}.flights"))).to_be_visible()
    # It may lie outside of what is drawn; the focus brings it in.
    graph.get_by_role("button", name=re.compile("^Airflow task flights_etl.load_day")).first.focus()
    page.keyboard.press("Enter")
    details = page.get_by_test_id("details")
    link = details.get_by_role("link", name="In Airflow").get_attribute("href")
    assert link is not None
    assert re.match(f"{AIRFLOW_URL}/dags/flights_etl/runs/scheduled__2013-01-0[345]T.*/tasks/load_day$", link)
    assert view.problems() == []


def test_a_partition_leads_forward_to_every_model_trained_on_it(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(f"/lineage?node=run:{world.runs['night4']['run_id']}&view=list")
    page.get_by_role("button", name=re.compile("day=03.flights.parquet$")).first.click()
    page.get_by_test_id("details").get_by_role("link", name="Begin here instead").click()
    expect(page.get_by_role("heading", level=1, name=f"Lineage of {PARTITION}")).to_be_visible()
    expect(page.get_by_test_id("summary")).to_contain_text("3 models")
    page.get_by_text("List", exact=True).click()
    models = page.get_by_role("region", name=re.compile("^Models 3"))
    expect(models.get_by_role("listitem")).to_have_count(3)
    expect(page.get_by_role("region", name=re.compile("^Airflow tasks 1"))).to_contain_text("load_day")
    assert view.problems() == []


def test_it_goes_on_from_a_node_with_the_keyboard_and_stays_so(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(f"/lineage?node={_model(world, 'night4')}")
    data = page.get_by_test_id("graph").get_by_role("button", name=re.compile("^data .*day=03.flights"))
    data.focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator(":focus")).to_have_attribute("data-kind", "job_run")
    page.keyboard.press("ArrowDown")
    focused = page.evaluate("document.activeElement.dataset.node")
    assert focused.startswith("dataset:"), focused
    before = _nodes(page).count()
    page.keyboard.press("+")
    expect(page).to_have_url(re.compile(f"open={focused}".replace(":", "(:|%3A)")))
    expect(_nodes(page)).not_to_have_count(before)
    after = _nodes(page).count()
    assert after > before
    page.reload()
    expect(_nodes(page)).to_have_count(after)
    assert view.problems() == []


def test_where_to_begin_and_what_is_not_there(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/lineage")
    expect(page.get_by_role("heading", name="Begin with a run")).to_be_visible()
    page.get_by_label("Name of a run").fill("2013-01-09")
    page.get_by_role("button", name="delays of 2013-01-09").click()
    expect(page.get_by_role("heading", level=1, name="Lineage of delays of 2013-01-09")).to_be_visible()
    view.open("/lineage?node=run:00000000-0000-4000-8000-000000000000")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()


def test_what_is_left_out_is_said(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    page.route("**/api/v1/lineage?*", lambda route: route.continue_(url=_shallow(route.request.url)))
    view.open(f"/lineage?node={_model(world, 'night4')}&view=graph")
    expect(page.get_by_text("This is not everything.")).to_be_visible()
    before = _nodes(page).count()
    page.get_by_role("button", name=re.compile("^Go on from")).first.click()
    expect(_nodes(page)).not_to_have_count(before)


def _shallow(url: str) -> str:
    return url.replace("depth=12", "depth=1")


def _nodes(page: Page) -> Locator:
    return page.get_by_test_id("graph").locator("[data-node]")


def _model(world: World, run: str) -> str:
    answer = world.client.get(f"/api/v1/runs/{world.runs[run]['run_id']}/artifacts").raise_for_status()
    (found,) = [one for one in answer.json()["items"] if one["type"] == "system.Model"]
    return f"artifact:{found['artifact_id']}"
