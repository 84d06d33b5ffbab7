"""The Artifacts pages: the list with its filters in the address, and an artifact with what is in it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.integration.service.calls import items, submit, wait_until
from tests.web.browser import SIZES, THEMES
from tests.web.conftest import OpenView
from tests.web.presenting import presents
from tests.web.world import World

Made = dict[str, str]


@pytest.fixture(scope="module")
def made(world: World) -> Made:
    """The page of each artifact of a run that shows something, by the artifact's key."""
    run = submit(world.client, presents(), display_name="shows what it made")
    run = wait_until(world.client, run, over=True, state="SUCCEEDED")
    found = {
        one["uses"][0]["key"]: f"/artifacts/{one['artifact_id']}"
        for one in items(world.client, run, "artifacts")
    }
    return {**found, "run": f"/runs/{run['run_id']}"}


def rows(page: Page) -> Any:
    return page.get_by_role("table").get_by_role("row").filter(has=page.locator("td"))


def settled(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "place",
    ["/artifacts", "/artifacts?text=nothing+like+this", "flights"],
)
def test_a_page_is_sound(look: OpenView, made: Made, place: str, theme: str, size: str) -> None:
    view = look(theme=theme, size=size)
    view.open(made.get(place, place))
    settled(view.page)
    assert view.problems() == []
    assert view.accessibility() == []


def test_models_come_first_and_filters_stand_in_the_address(look: OpenView, world: World, made: Made) -> None:
    view = look()
    page = view.page
    view.open("/artifacts")
    expect(rows(page).first).to_contain_text("Model")
    expect(rows(page).first).to_contain_text("shows what it made")
    page.get_by_text("Datasets", exact=True).click()
    expect(page).to_have_url(f"{world.url}/artifacts?type=system.Dataset")
    page.get_by_text("All", exact=True).click()
    page.get_by_role("link", name="presents").first.click()
    expect(page).to_have_url(f"{world.url}/artifacts?type=any&pipeline=presents")
    expect(rows(page)).to_have_count(7)
    page.get_by_role("searchbox", name="Search").fill("Present/FLIGHTS")
    expect(page).to_have_url(f"{world.url}/artifacts?type=any&pipeline=presents&text=Present%2FFLIGHTS")
    expect(rows(page)).to_have_count(1)
    page.reload()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Without pipeline presents").click()
    expect(page).to_have_url(f"{world.url}/artifacts?type=any&text=Present%2FFLIGHTS")
    page.get_by_role("searchbox", name="Search").fill("no such thing")
    expect(page.get_by_role("heading", name="No artifact matches")).to_be_visible()
    assert view.problems() == []


def test_pages_of_the_list_and_what_is_looked_for_among_older_ones(look: OpenView, made: Made) -> None:
    view = look()
    page = view.page

    def few(route: Any) -> None:
        route.continue_(url=route.request.url.replace("limit=50", "limit=2"))

    page.route("**/api/v1/artifacts?*", few)
    view.open("/artifacts?type=any")
    expect(rows(page)).to_have_count(2)
    first = rows(page).first.inner_text()
    page.get_by_role("link", name="Older").click()
    expect(rows(page).first).not_to_have_text(first)
    page.get_by_role("link", name="Newest").click()
    expect(page.get_by_role("link", name="Newest")).to_have_count(0)
    page.route(
        "**/api/v1/artifacts?*", lambda route: route.fulfill(json={"items": [], "next_cursor": "older"})
    )
    view.open("/artifacts?text=rare")
    link = page.get_by_role("link", name="Look among older ones")
    expect(link).to_have_attribute("href", "/artifacts?text=rare&cursor=older")


def test_the_keyboard_alone_leads_to_an_artifact_and_to_its_run(
    look: OpenView, world: World, made: Made
) -> None:
    view = look()
    page = view.page
    view.open("/artifacts?type=any&pipeline=presents")
    expect(rows(page)).to_have_count(7)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    maker = page.get_by_role("list", name="Tasks that put it out").get_by_role("link")
    expect(maker.first).to_have_attribute("href", made["run"])
    expect(maker.last).to_have_attribute("href", "/pipelines/presents?project=default")
    assert view.problems() == []


def test_html_is_drawn_and_runs_nothing(look: OpenView, made: Made) -> None:
    view = look()
    page = view.page
    page.add_init_script("addEventListener('message', (event) => { window.heard = event.data; })")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.frame.parent_frame else None)
    view.open(made["report"])
    told = page.frame_locator("iframe").locator("#told")
    expect(told).to_have_text("still")
    expect(told).to_have_css("color", "rgb(1, 2, 3)")
    assert page.locator("iframe").get_attribute("sandbox") == ""
    assert page.evaluate("window.heard") is None
    assert page.evaluate("document.title").startswith("report")
    assert page.evaluate("window.policyViolations") == []
    settled(page)
    # Drawn once, however much else of the page comes later.
    assert len(asked) == 1


def test_what_can_be_looked_at_is_shown(look: OpenView, made: Made) -> None:
    view = look()
    page = view.page
    view.open(made["flights"])
    table = page.get_by_role("region", name="The table flights").get_by_role("row")
    expect(table).to_have_count(31)
    expect(table.nth(1)).to_have_text("2013-01-01UA7")
    expect(page.get_by_text("30 rows")).to_be_visible()
    view.open(made["partition"])
    expect(page.get_by_role("region", name="The table partition").get_by_role("row")).to_have_text(
        ["daycarrierlate", "2013-01-01UA7", "2013-01-02AA", "2013-01-03UA21"]
    )
    expect(page.get_by_text("Parquet, 3 rows, 3 columns.")).to_be_visible()
    view.open(made["facts"])
    expect(page.get_by_label("The text facts")).to_contain_text('"share": 0.31')
    view.open(made["chart"])
    expect(page.get_by_text("A PNG image whose address does not end in .png")).to_be_visible()
    view.open(made["model"])
    expect(page.get_by_text("Not text: nothing to show here.")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes() == b"\x80\x05pickled\x00"
    view.open(made["nothing"])
    expect(page.get_by_text("It is empty.")).to_be_visible()
    assert view.problems() == []


def test_who_used_an_artifact_and_what_cannot_be_read(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    model = next(
        one
        for one in items(world.client, world.runs["refused"], "artifacts")
        if one["type"] == "system.Model"
    )
    view.open(f"/artifacts/{model['artifact_id']}")
    used = page.get_by_role("list", name="Tasks that read it").get_by_role("listitem")
    expect(used).to_contain_text("from a DAG")
    expect(used).to_contain_text("evaluate as model")
    expect(page.get_by_role("main").get_by_role("link", name="Lineage")).to_have_attribute(
        "href", f"/lineage?node=artifact:{model['artifact_id']}"
    )
    refusal = {"title": "Not found", "status": 404, "detail": "the content of s3://x is not passed through"}
    page.route("**/content?*", lambda route: route.fulfill(status=404, json=refusal))
    page.reload()
    expect(page.get_by_text("The content of s3://x is not passed through.")).to_be_visible()


def test_an_artifact_that_is_none_and_an_empty_history(look: OpenView, empty_url: str) -> None:
    view = look()
    view.open("/artifacts/00000000-0000-4000-8000-000000000000")
    expect(view.page.get_by_role("heading", name="Not found")).to_be_visible()
    empty = look(base_url=empty_url)
    empty.open("/artifacts")
    expect(empty.page.get_by_role("heading", name="No models yet")).to_be_visible()
    empty.page.get_by_role("link", name="Show artifacts of every type").click()
    expect(empty.page.get_by_role("heading", name="No artifacts yet")).to_be_visible()
    assert empty.problems() == []
    assert empty.accessibility() == []
