"""The pages with real data: flights that Airflow's ETL loaded, and models that were trained on them."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.web.conftest import OpenView
from tests.web.demo.conftest import DAYS, Demo
from tests.web.test_looks import settled

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(500)]

# Each page by where it is and what it shows once it is there.
PLACES = {
    "runs": ("/", "table"),
    "run": ("/runs/{run}", "[data-testid=timeline]"),
    "graph": ("/runs/{run}?tab=graph", "[data-testid=graph] button >> nth=3"),
    "metrics": ("/runs/{run}?tab=metrics", "text=evaluate"),
    "run's artifacts": ("/runs/{run}?tab=artifacts", "text=model"),
    "parameters": ("/runs/{run}?tab=parameters", "dl"),
    "logs": ("/runs/{run}?tab=logs", "[data-testid=log]"),
    "events": ("/runs/{run}?tab=events", "text=settled"),
    "explain": ("/runs/{run}?tab=explain", "text=Run it again"),
    "pipelines": ("/pipelines", "td ol"),
    "pipeline": ("/pipelines/{pipeline}", "text=Runs over time"),
    "compare": ("/compare?run={first}&run={run}", "text=flights.parquet"),
    "lineage": ("/lineage?node=run:{run}&view=graph", "[data-testid=graph] [data-node] >> nth=4"),
    "lineage as a list": ("/lineage?node=run:{run}&view=list", "[data-testid=list]"),
    "artifacts": ("/artifacts", "text=model"),
    "artifact": ("/artifacts/{model}", "h1"),
    "on call": ("/oncall", "h1"),
    "cost": ("/cost", "table"),
    "status": ("/backends", "article"),
}


def fill(path: str, demo: Demo) -> str:
    """The path with the ids of what the demo made."""
    first, last = demo.did.runs
    return path.format(first=first.run_id, run=last.run_id, pipeline=last.pipeline.name, model=model_of(demo))


def model_of(demo: Demo) -> str:
    """The id of the newest model."""
    assert demo.did.explained is not None
    return str(demo.did.explained.models[0].artifact_id)


@pytest.mark.parametrize(("theme", "size"), [("light", "desk"), ("dark", "phone")])
@pytest.mark.parametrize("place", PLACES)
def test_a_page_of_the_demo_is_sound(look: OpenView, demo: Demo, place: str, theme: str, size: str) -> None:
    path, shown = PLACES[place]
    view = look(theme=theme, size=size, base_url=demo.stack.bridge_url)
    view.open(fill(path, demo))
    settled(view.page, shown)
    assert view.problems() == []
    assert view.accessibility() == []


def test_a_model_leads_back_to_the_etl_and_the_partitions(look: OpenView, demo: Demo) -> None:
    view = look(base_url=demo.stack.bridge_url)
    page = view.page
    view.open(f"/lineage?node=artifact:{model_of(demo)}&view=list")
    tasks = page.get_by_role("region", name=re.compile("^Airflow tasks"))
    expect(tasks).to_contain_text("load_day")
    for day in demo.did.days:
        partition = re.compile(rf"day={day.day:02d}.flights\.parquet")
        expect(page.get_by_role("button", name=partition).first).to_be_visible()
    assert view.problems() == []


def test_a_partition_leads_forward_to_the_models(look: OpenView, demo: Demo) -> None:
    view = look(base_url=demo.stack.bridge_url)
    page = view.page
    view.open(f"/lineage?node=artifact:{model_of(demo)}&view=list")
    page.get_by_role("button", name=re.compile(r"day=01.flights\.parquet$")).first.click()
    page.get_by_test_id("details").get_by_role("link", name="Begin here instead").click()
    page.get_by_text("List", exact=True).click()
    models = page.get_by_role("region", name=re.compile("^Models"))
    # At least one of each retraining.
    expect(models.get_by_role("listitem").nth(DAYS - 1)).to_be_visible()
    assert view.problems() == []
