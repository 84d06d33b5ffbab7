"""Airflow's own pages as their reader sees them: the links, the plugin's tab, a pipeline's tasks as a group.

A real ``airflow standalone`` with the example DAGs. With ``KFBRIDGE_PICTURES`` naming a folder the pictures
of the documentation are taken on the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from bridge.client.models import RunModel
from bridge.client.sync import BridgeClient
from deploy.laptop.stack import Stack
from tests.web.browser import THEMES, new_context
from tests.web.demo.conftest import Demo

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(500)]

_LARGEST_BYTES = 200 * 1024
HELLO, GROUP = "hello_kubeflow", "flights_as_tasks"
both_themes = pytest.mark.parametrize("theme", THEMES)
# Of the pipeline's tasks, those that stand in the graph when the group is open.
TASKS = ("submit", "validate", "features", "train", "evaluate", "register", "finish")


@dataclass(frozen=True)
class Shown:
    """DagRuns of the examples that have ended, and the run of the first one."""

    stack: Stack
    hello: str
    group: str
    run: RunModel

    @property
    def task(self) -> str:
        """The page of the first one's task instance."""
        return f"/dags/{HELLO}/runs/{self.hello}/tasks/hello"


@pytest.fixture(scope="module")
def shown(demo: Demo) -> Shown:
    """A greeting, and the flights' pipeline run task by task, beside what the demo did."""
    hello = _run(demo.stack, HELLO, conf={"name": "world"})
    group = _run(demo.stack, GROUP, conf={"window_days": 1})
    with BridgeClient(demo.stack.bridge_url) as client:
        (run,) = client.list_runs(dag_id=HELLO, dag_run_id=hello).items
    return Shown(demo.stack, hello, group, run)


@pytest.fixture
def look(browser: Browser, shown: Shown) -> Iterator[Callable[..., Page]]:
    """Opens a page of Airflow as somebody who is logged in; ``theme`` may be given."""
    contexts: list[BrowserContext] = []

    def open_page(path: str, *, theme: str = "light") -> Page:
        context = new_context(browser, shown.stack.airflow.url, theme=theme)
        contexts.append(context)
        page = context.new_page()
        page.goto("/auth/token/login")
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()


@both_themes
def test_the_links_of_a_task_instance_lead_to_its_run(
    look: Callable[..., Page], shown: Shown, theme: str
) -> None:
    page = look(f"{shown.task}/details", theme=theme)
    link = page.get_by_role("link", name="Bridge run")
    expect(link).to_be_visible()
    assert link.get_attribute("href") == shown.run.links.bridge
    kfp = page.get_by_role("link", name="KFP run").get_attribute("href")
    assert kfp is not None
    assert str(shown.run.kfp_run_id) in kfp
    _picture(page, f"airflow-links-{theme}.png")

    page.goto(link.get_attribute("href") or "")
    expect(page.locator("main")).to_contain_text("Succeeded")
    expect(page.locator("main")).to_contain_text(str(shown.run.kfp_run_id)[:13])
    assert httpx.get(kfp, follow_redirects=True).status_code == httpx.codes.OK


@both_themes
def test_the_plugin_shows_the_runs_page_inside_airflow(
    look: Callable[..., Page], shown: Shown, theme: str
) -> None:
    page = look(shown.task, theme=theme)
    page.get_by_role("link", name="Kubeflow run").click()
    frame = page.frame_locator("iframe")
    expect(frame.locator("main")).to_contain_text("Succeeded")
    expect(frame.locator("main")).to_contain_text(str(shown.run.kfp_run_id)[:13])
    expect(frame.locator("main")).to_contain_text("greet")
    _picture(page, f"airflow-plugin-{theme}.png")


@both_themes
def test_the_task_group_is_seen_in_the_graph(look: Callable[..., Page], shown: Shown, theme: str) -> None:
    found = shown.stack.airflow.task_instances(GROUP, shown.group)
    states = {ti["task_id"].removeprefix("training."): ti["state"] for ti in found}
    assert {states[name] for name in TASKS} == {"success"}
    page = look(f"/dags/{GROUP}/runs/{shown.group}", theme=theme)
    page.get_by_role("button", name="Expand all task groups").click()
    page.keyboard.press("g")
    for name in TASKS:
        expect(page.locator(".react-flow__node").get_by_text(name, exact=True).first).to_be_visible()
    _picture(page, f"airflow-group-{theme}.png")


def _run(stack: Stack, dag_id: str, conf: dict[str, object]) -> str:
    stack.airflow.wait_dag(dag_id)
    stack.airflow.unpause(dag_id)
    dag_run_id = stack.airflow.trigger(dag_id, conf=conf)
    state = stack.airflow.wait_dag_run(dag_id, dag_run_id, seconds=240)
    assert state == "success", stack.airflow.task_instances(dag_id, dag_run_id)
    return dag_run_id


def _picture(page: Page, name: str) -> None:
    folder = os.environ.get("KFBRIDGE_PICTURES")
    if folder is None:
        return
    page.evaluate("document.fonts.ready")
    target = Path(folder) / name
    page.screenshot(path=target, animations="disabled")
    assert target.stat().st_size <= _LARGEST_BYTES, f"{name} has {target.stat().st_size:,} bytes"
