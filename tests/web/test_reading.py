"""What a reader finds on the pages, and how they get there with a keyboard."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.web.browser import SIZES
from tests.web.conftest import OpenView
from tests.web.test_looks import PLACES, settled
from tests.web.world import FAILURE, NASTY_NAME, World

_NUMBER_STOPS = """() => {
  const all = [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")];
  const stops = all.filter((one) => one.checkVisibility() && one.tabIndex >= 0 && !one.disabled);
  const groups = new Set();
  const counted = stops.filter((one) => {
    if (one.type !== "radio") return true;
    const first = !groups.has(one.name);
    groups.add(one.name);
    return first;
  });
  counted.forEach((one, index) => (one.dataset.stop = index));
  return counted.length;
}"""
_FOCUSED = """() => {
  const one = document.activeElement;
  const shown = one.type === "radio" ? one.labels[0] : one;
  const style = getComputedStyle(shown);
  const box = shown.getBoundingClientRect();
  const seen = box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.left < innerWidth;
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2
    || one.matches("input, select");
  const first = one.type === "radio" && document.querySelector(`input[name="${one.name}"][data-stop]`);
  return {stop: (first || one).dataset.stop ?? null, seen, ring, what: one.outerHTML.slice(0, 160)};
}"""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", ["runs", "broken", "task"])
def test_everything_is_reached_by_tab_with_visible_focus(
    look: OpenView, world: World, place: str, size: str
) -> None:
    view = look(size=size)
    path, shown = PLACES[place]
    # A list of finished runs only: one that goes on would come and go while we walk.
    view.open("/?state=SUCCEEDED" if place == "runs" else world.fill(path))
    settled(view.page, shown)
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
    settled(view.page, "[data-testid=timeline]")
    view.page.keyboard.press("Tab")
    view.page.keyboard.press("Enter")
    view.page.keyboard.press("Tab")
    assert view.page.evaluate("document.activeElement.closest('nav').ariaLabel") == "Place"


def test_the_list_is_worked_with_keys_alone(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/?state=SUCCEEDED,FAILED")
    settled(page, "table")
    names = _names(page)
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.press("Escape")
    for key, at in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.innerText") == names[at]
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    compare = page.get_by_role("link", name="Compare 2 runs")
    assert len(re.findall("run=", str(compare.get_attribute("href")))) == 2
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/runs/"))
    assert view.problems() == []


def test_filters_work_and_stay_in_the_address(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/")
    page.locator("label", has_text="Failed").click()
    page.get_by_label("Search").fill("EXPLODE")
    expect(page).to_have_url(f"{world.url}/?state=FAILED&text=EXPLODE")
    expect(page.locator("[data-run-link]")).to_have_text(["nightly load"])
    expect(page.get_by_test_id("count")).to_have_text("1 run")
    page.reload()
    expect(page.get_by_label("Search")).to_have_value("EXPLODE")
    expect(page.locator("[data-run-link]")).to_have_text(["nightly load"])
    page.locator("label", has_text="All").click()
    expect(page).to_have_url(f"{world.url}/?text=EXPLODE")
    page.go_back()
    expect(page.get_by_role("radio", name="Failed")).to_be_checked()


def test_a_filter_without_a_field_is_a_chip_that_can_be_taken_away(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/?state=SUCCEEDED")
    page.get_by_role("cell").get_by_role("link", name="shapes", exact=True).click()
    expect(page).to_have_url(f"{world.url}/?pipeline=shapes")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_label("Field").select_option("Metric")
    page.get_by_label("Value").fill("conclude.x >= 1")
    page.get_by_role("button", name="Add").click()
    expect(page).to_have_url(f"{world.url}/?pipeline=shapes&metric=conclude.x%3E%3D1")
    expect(page.get_by_text("No run matches")).to_be_visible()
    page.get_by_role("button", name="Without metric conclude.x>=1").click()
    expect(page.locator("[data-run-link]")).to_have_text(["shapes above"])
    page.get_by_role("link", name="Clear all").click()
    expect(page).to_have_url(f"{world.url}/")


def test_a_view_is_saved_in_the_browser(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open("/?pipeline=shapes")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("menuitem", name="Save this view").click()
    page.get_by_label("Name").fill("my shapes")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="Clear all").click()
    page.reload()
    page.get_by_role("button", name="Views").click()
    page.get_by_role("menuitem", name="my shapes").click()
    expect(page).to_have_url(f"{world.url}/?pipeline=shapes")


def test_a_filter_that_is_none_is_told_on_a_page(look: OpenView) -> None:
    view = look()
    view.open("/?state=BROKEN")
    expect(view.page.get_by_role("alert")).to_contain_text("BROKEN is no state")


def test_a_broken_run_is_understood_without_leaving_its_page(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(world.path("broken"))
    cause = page.get_by_role("region", name="Failed in load")
    expect(cause).to_contain_text("no flights on 2013-02-30")
    expect(cause.get_by_test_id("log")).to_contain_text("reading flights of 2013-02-30")
    since = page.get_by_role("region", name="Differences from the last good run")
    expect(since).to_contain_text("day")
    expect(since).to_contain_text("2013-02-28 → 2013-02-30")
    strip = page.get_by_role("list", name="Identity")
    links = [str(one.get_attribute("href")) for one in strip.get_by_role("link").all()]
    assert links[0].endswith("uyl6PyNK")
    assert links[1].startswith("https://airflow.example.com/dags/delay_model/runs/asset_triggered__2013")
    assert "/#/runs/details/" in links[2]
    place = page.get_by_role("navigation", name="Place").get_by_role("link").last
    expect(place).to_have_attribute("href", "/pipelines/delays?project=default")
    lineage = page.get_by_role("main").get_by_role("link", name="Lineage")
    expect(lineage).to_have_attribute("href", f"/lineage?node=run:{world.runs['broken']['run_id']}")
    page.get_by_role("button", name="Retry").click()
    command = page.get_by_role("dialog").get_by_role("group").inner_text()
    assert "/api/v2/dags/delay_model/clearTaskInstances" in command
    assert '"task_ids":["train"]' in command
    assert view.problems() == []
    assert view.accessibility() == []


def test_the_end_of_a_long_log_is_seen_first_and_the_whole_is_a_press_away(
    look: OpenView, world: World
) -> None:
    view = look()
    page = view.page
    view.open(world.path("failed"))
    tail = page.get_by_role("region", name="Failed in explode").get_by_test_id("log")
    expect(tail).to_contain_text(f"ValueError: {FAILURE}")
    overflowing, last_line_seen = tail.evaluate(
        """(box) => [box.scrollHeight > box.clientHeight,
          box.firstElementChild.getBoundingClientRect().bottom <= box.getBoundingClientRect().bottom + 1]"""
    )
    assert overflowing
    assert last_line_seen
    page.get_by_role("link", name="Whole log").click()
    whole = page.get_by_role("tabpanel").get_by_test_id("log")
    expect(whole).to_contain_text("line 1 of 60")
    page.reload()
    expect(whole).to_contain_text("line 1 of 60")


def test_what_others_wrote_is_text(look: OpenView, world: World) -> None:
    shown = NASTY_NAME.replace("\N{RIGHT-TO-LEFT OVERRIDE}", "\N{REPLACEMENT CHARACTER}")
    view = look()
    page = view.page
    view.open(world.path("nasty"))
    expect(page.locator("h1")).to_have_text(shown)
    assert page.locator("main script, main img, main b").count() == 0
    view.open("/?pipeline=hello")
    link = page.get_by_role("cell").get_by_role("link").filter(has_text="alert")
    expect(link).to_have_text(shown)
    box = link.bounding_box()
    assert box is not None
    assert box["height"] < 60, "a long name takes two lines of the list at most"
    assert view.problems() == []


def test_tasks_are_a_tree_that_folds_and_a_task_is_a_press_away(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(world.path("shapes"))
    names = page.get_by_test_id("timeline").locator("tbody bdi")
    expect(names).to_contain_text(["exit-handler-1", "sum-of-squares", "for-loop-1", "for-loop-1[0]"])
    page.get_by_role("button", name="Close exit-handler-1").click()
    expect(names).to_have_text(["exit-handler-1", "conclude"])
    page.get_by_role("button", name="conclude", exact=True).click()
    expect(page).to_have_url(re.compile("task=conclude"))
    expect(page.get_by_role("complementary", name="Task conclude").get_by_test_id("log")).to_be_visible()


def test_the_graph_folds_and_tells_the_states_of_a_loop_together(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(world.fill("/runs/{shapes}?tab=graph"))
    graph = page.get_by_test_id("graph")
    expect(graph.get_by_role("button", name="square: 3 succeeded")).to_be_visible()
    graph.get_by_role("button", name="Close exit-handler-1").click()
    expect(graph.get_by_role("button", name="exit-handler-1: Succeeded")).to_be_visible()
    expect(graph.get_by_role("button", name="square")).to_have_count(0)
    graph.get_by_role("button", name="conclude: Succeeded").click()
    expect(page.get_by_role("complementary", name="Task conclude")).to_be_visible()
    assert view.problems() == []


def test_metrics_curves_and_matrices_are_shown(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(world.fill("/runs/{judged}?tab=metrics"))
    expect(page.locator("dl").first).to_contain_text("0.8347")
    expect(page.get_by_role("img", name="ROC curve. evaluate.curves: area 0.83775")).to_be_visible()
    expect(page.get_by_role("row", name="late 58")).to_contain_text("108")


def test_an_artifact_is_previewed(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(world.fill("/runs/{judged}?tab=artifacts"))
    page.get_by_role("button", name="flights").click()
    rows = page.get_by_role("region", name="The table flights").get_by_role("row")
    expect(rows).to_have_text(["dayflights", "2013-02-28842"])


def test_a_run_from_a_dag_names_job_data_and_gate(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(world.fill("/runs/{refused}?tab=explain"))
    expect(page.get_by_role("list", name="Identity")).to_contain_text("delay_model_retraining")
    expect(page.get_by_role("region", name="Gate")).to_contain_text("evaluate.auc >= 0.9")
    data = page.get_by_role("listitem").filter(has_text="day=02").filter(has_text="written by")
    expect(data).to_contain_text("1,684")
    expect(data).to_contain_text("flights_etl.load_day")
    grade = re.compile("exact|same-spec|impossible")
    expect(page.get_by_role("heading", name="Run it again")).to_contain_text(grade)


def test_a_run_is_reproduced_from_its_page(look: OpenView, world: World) -> None:
    view = look()
    page = view.page
    view.open(world.path("nasty"))
    page.get_by_role("button", name=re.compile("Reproduce (exact|same-spec)")).click()
    dialog = page.get_by_role("dialog", name="Run it again")
    expect(dialog).to_contain_text(re.compile("exact|same-spec"))
    # Both presses of an impatient reader are one run.
    dialog.get_by_role("button", name="Run it again").dblclick()
    expect(dialog).to_have_count(0)
    expect(page).not_to_have_url(f"{world.url}{world.path('nasty')}")
    expect(page.get_by_role("list", name="Identity")).to_contain_text("hello")
    made = world.client.get(f"/api/v1{urlsplit(page.url).path}").json()
    assert made["arguments"] == world.runs["nasty"]["arguments"]
    assert view.problems() == []
    assert view.accessibility() == []


def test_the_keys_are_told(look: OpenView) -> None:
    view = look()
    view.open("/lineage")
    settled(view.page, "h1")
    view.page.keyboard.press("?")
    keys = view.page.get_by_role("dialog", name="Keys")
    expect(keys).to_contain_text("Go on from the node")
    expect(keys).to_contain_text("Choose the run for a comparison")
    assert view.accessibility() == []


def _names(page: Page) -> list[str]:
    return page.locator("[data-run-link]").all_inner_texts()
