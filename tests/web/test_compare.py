"""Runs beside each other: what differs first, the rest on demand, and choosing the runs."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import OpenView
from tests.web.history import BAD_NIGHT, PIPELINE
from tests.web.world import World


def test_what_differs_is_shown_first_and_the_rest_on_demand(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(_path(world, BAD_NIGHT - 1, BAD_NIGHT))
    metrics = page.get_by_role("region", name=re.compile("^Metrics"))
    auc = metrics.get_by_role("row").filter(has_text="evaluate.auc")
    expect(auc.get_by_role("cell")).to_have_text(["0.8", "0.5556", "−0.2444 (−31 %)"])
    epochs = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="epochs"))
    expect(epochs.get_by_role("cell")).to_have_text(["3", "5", "+2 (+67 %)"])
    data = page.get_by_role("region", name=re.compile("^Data"))
    expect(data.get_by_role("row").filter(has_text="day=02")).to_contain_text("not read")
    expect(data.get_by_role("row").filter(has_text="day=03")).to_have_count(0)
    expect(page.get_by_role("region", name=re.compile("^Images"))).to_have_count(0)
    expect(page.get_by_text("The same: images")).to_be_visible()
    expect(
        page.get_by_role("img", name=re.compile("ROC curve. A .*area 0.7.*; B .*area 0.5"))
    ).to_be_visible()
    expect(page.get_by_role("figure")).to_have_count(2)

    page.get_by_role("switch", name="Show what is the same").check()
    expect(page).to_have_url(re.compile("&all=yes$"))
    expect(page.get_by_role("region", name=re.compile("^Images"))).to_contain_text("alpine")
    page.reload()
    expect(page.get_by_role("region", name=re.compile("^Images"))).to_contain_text("alpine")
    assert view.problems() == []


def test_runs_are_chosen_with_the_keyboard_alone(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/compare")
    expect(page.get_by_role("heading", name="Choose two to five runs")).to_be_visible()
    for night, day in ((4, "2013-01-07"), (6, "2013-01-09")):
        page.get_by_label("Name of a run").focus()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type(day)
        expect(page.get_by_role("button", name=f"delays of {day}")).to_be_visible()
        expect(page.get_by_role("group", name="Add a run").get_by_role("button")).to_have_count(1)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(world.runs[f"night{night}"]["run_id"]))
    expect(page.get_by_role("heading", name="Compare 2 runs")).to_be_visible()


def test_a_run_is_added_made_the_first_and_taken_away(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(_path(world, 0, BAD_NIGHT))
    page.get_by_role("button", name="Add a run").click()
    expect(page.get_by_label(f"only of {PIPELINE}")).to_be_checked()
    page.get_by_role("button", name="delays of 2013-01-09").click()
    expect(page.get_by_role("heading", name="Compare 3 runs")).to_be_visible()
    page.get_by_role("button", name="Compare with delays of 2013-01-07").click()
    expect(page).to_have_url(f"{world.url}{_path(world, BAD_NIGHT, 0, 6)}")
    expect(_names(page).first).to_have_text("delays of 2013-01-07")
    page.get_by_role("button", name="Without delays of 2013-01-03").click()
    expect(page.get_by_role("heading", name="Compare 2 runs")).to_be_visible()
    expect(_names(page)).to_have_text(["delays of 2013-01-07", "delays of 2013-01-09"])


def test_a_run_that_is_not_there_is_said(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(f"/compare?run={world.runs['night0']['run_id']}&run=00000000-0000-4000-8000-000000000000")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    page.get_by_role("button", name="Choose other runs").click()
    expect(page.get_by_role("heading", name="Choose two to five runs")).to_be_visible()


def _path(world: World, *nights: int) -> str:
    return "/compare?" + "&".join(f"run={world.runs[f'night{night}']['run_id']}" for night in nights)


def _names(page: Page) -> Locator:
    return page.get_by_role("list", name="Compared runs").get_by_role("link")
