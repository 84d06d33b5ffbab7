"""The Cost page: what was used by whom, what it cost, and the same of one run."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import delete, insert

from bridge.lineage.database import Database
from bridge.lineage.tables import USAGE_TOTALS
from tests.web.browser import Cut
from tests.web.conftest import OpenView
from tests.web.world import World

# Months of which the world knows nothing else: month, project, pipeline, team, resource, runs, hours.
_USED = (
    ("2013-01", "flights", "delay-train", "risk", "run", 4, 8.0),
    ("2013-01", "flights", "delay-train", "risk", "cpu", 4, 16.0),
    ("2013-01", "flights", "delay-train", "risk", "memory", 4, 64.0),
    ("2013-01", "flights", "delay-train", "risk", "nvidia.com/gpu", 2, 3.0),
    ("2013-01", "flights", "load", "", "run", 20, 2.0),
    ("2013-01", "flights", "load", "", "unknown", 20, 2.0),
    ("2013-02", "labs", "delay-train", "risk", "run", 1, 1.0),
    ("2013-02", "labs", "delay-train", "risk", "cpu", 1, 120.0),
)
_NAMES = ("month", "project", "pipeline", "team", "resource", "runs", "hours")
_BOTH = "/cost?from=2013-01&to=2013-02"


@pytest.fixture(scope="module")
def used(world: World) -> Iterator[None]:
    """Two months of usage, years ago."""
    database = Database(world.database_url)
    rows = [dict(zip(_NAMES, one, strict=True)) | {"backend": "default"} for one in _USED]
    database.transact(lambda session: session.execute(insert(USAGE_TOTALS).values(rows)))
    yield
    old = delete(USAGE_TOTALS).where(USAGE_TOTALS.c.month < "2014")
    database.transact(lambda session: session.execute(old))
    database.close()


def _names(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("tbody th[scope=row]").all_inner_texts()]


@pytest.mark.parametrize(("theme", "size"), [("light", "phone"), ("dark", "desk")])
def test_what_was_used_is_told_with_its_price(
    look: OpenView, world: World, used: None, theme: str, size: str
) -> None:
    view = look(theme=theme, size=size)
    page = view.page
    view.open(_BOTH)
    row = page.locator("tbody tr", has_text="delay-train")
    expect(row).to_contain_text("14.44 EUR")
    expect(row).to_contain_text("without memory")
    expect(page.locator("tbody tr", has_text="load")).to_contain_text("no price")
    totals = page.locator("dl[aria-label='All together']")
    for told in ("14.44 EUR", "136 core h", "64 GiB h", "nvidia.com/gpu 3", "2 h", "11 h"):
        expect(totals).to_contain_text(told)
    expect(page.get_by_text("No price is set for memory")).to_be_visible()
    # In several projects a pipeline's name leads to its runs; with one, to its page.
    expect(page.get_by_role("link", name="delay-train")).to_have_attribute("href", "/?pipeline=delay-train")
    assert view.accessibility() == []
    assert view.problems() == []
    page.get_by_role("combobox", name="Project").select_option("labs")
    link = page.get_by_role("link", name="delay-train")
    expect(link).to_have_attribute("href", "/pipelines/delay-train?project=labs")
    expect(page.get_by_role("link", name="load")).to_have_count(0)
    assert view.problems() == []


def test_what_is_chosen_stands_in_the_address_and_outlives_a_reload(
    look: OpenView, world: World, used: None
) -> None:
    view = look()
    page = view.page
    view.open(_BOTH)
    expect(page.locator("tbody tr")).to_have_count(2)
    assert _names(page) == ["delay-train", "load"]
    head = page.get_by_role("columnheader", name="Runs")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert _names(page) == ["load", "delay-train"]
    page.get_by_role("radio", name="Project").focus()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"by=month"))
    expect(page.locator("tbody th").first).to_have_text("2013-02")
    page.reload()
    expect(page.get_by_role("radio", name="Month")).to_be_checked()
    expect(page.get_by_label("From month")).to_have_value("2013-01")
    assert _names(page) == ["2013-02", "2013-01"]
    page.get_by_role("link", name="2013-01").click()
    expect(page.get_by_label("To month")).to_have_value("2013-01")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("To month").fill("2013-02")
    expect(page).to_have_url(re.compile(r"to=2013-02"))
    page.get_by_label("Pages").get_by_role("link", name="Cost").click()
    expect(page).to_have_url(re.compile(r"/cost$"))
    assert view.problems() == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_months_of_which_nothing_is_known_and_what_is_not_counted_yet(
    look: OpenView, world: World, theme: str
) -> None:
    view = look(theme=theme, size="phone")
    page = view.page
    empty = world.client.get("/api/v1/cost", params={"from": "2012-01", "to": "2012-01"}).json()
    page.route("**/api/v1/cost?by=pipeline**", lambda route: route.fulfill(json={**empty, "pending": 3}))
    view.open("/cost?from=2012-01&to=2012-01")
    expect(page.get_by_role("heading", name="Nothing was used")).to_be_visible()
    expect(page.get_by_text("3 events are not counted yet")).to_be_visible()
    assert view.accessibility() == []
    assert view.problems() == []


def test_a_bridge_that_does_not_answer_is_told_and_asked_again(
    look: OpenView, world: World, used: None
) -> None:
    view = look()
    page = view.page
    connection = Cut(page, "**/api/v1/cost?**")
    view.open(_BOTH)
    expect(page.get_by_role("heading", name="The cost cannot be shown")).to_be_visible()
    assert view.accessibility() == []
    connection.away = False
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("tbody tr")).to_have_count(2)


@pytest.mark.parametrize(("theme", "size"), [("light", "desk"), ("dark", "phone")])
def test_a_run_tells_what_each_of_its_tasks_used(look: OpenView, world: World, theme: str, size: str) -> None:
    view = look(theme=theme, size=size)
    page = view.page
    view.open(world.path("judged"))
    section = page.get_by_role("region", name="Cost")
    expect(section).to_contain_text("no price")
    expect(section).to_contain_text("Unknown: hours of tasks that did not say what they ask for")
    told = world.client.get(f"/api/v1{world.path('judged')}/cost").json()
    expect(section.get_by_role("list").get_by_role("listitem")).to_have_count(len(told["tasks"]))
    assert view.accessibility() == []
    assert view.problems() == []
