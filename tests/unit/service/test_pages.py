from __future__ import annotations

import re
from html.parser import HTMLParser

from bridge.domain.lineage import Metric
from tests.unit.service.harness import Harness, mirror_of
from tests.unit.service.test_repeating import origin

HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """The tags of a page, so that a test can ask what a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "href" and value:
                self.links.append(value)
            if name == "style" or name.startswith("on"):
                self.inline.append(name)


async def page(service: Harness, path: str) -> str:
    answer = await service.client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


async def test_an_empty_list_says_what_to_do(service: Harness) -> None:
    assert "kfbridge submit" in await page(service, "/")
    assert "No run matches" in await page(service, "/?state=FAILED")


async def test_runs_are_listed_with_word_and_sign_and_links(service: Harness) -> None:
    run = await service.submitted(None, origin=origin(), display_name="night")
    html = await page(service, "/")
    assert f"/runs/{run['run_id']}" in Page(html).links
    assert "PENDING" in html
    assert "retraining.train" in html
    assert 'http-equiv="refresh"' in html
    await service.ended(run)
    html = await page(service, "/")
    assert "SUCCEEDED" in html
    assert 'http-equiv="refresh"' not in html
    assert "night" in await page(service, "/?text=NIGHT&state=succeeded")
    assert "night" not in await page(service, "/?pipeline=other")


async def test_nothing_that_others_wrote_becomes_markup(service: Harness) -> None:
    run = await service.submitted(
        display_name=HOSTILE, arguments={"epochs": 1, "note": HOSTILE}, labels={"x": HOSTILE}
    )
    service.kfp.logs["pod-train"] = HOSTILE
    await service.ended(run, "FAILED", mirror=mirror_of("FAILED"))
    for path in ("/", f"/runs/{run['run_id']}"):
        html = await page(service, path)
        shown = Page(html)
        assert "script" not in shown.tags
        assert "style" not in shown.tags
        assert shown.inline == []
        assert "&lt;script&gt;" in html


async def test_a_run_s_page_tells_its_story(service: Harness) -> None:
    inputs = [{"name": "flights", "uri": "file:///data/day=1", "version": "abcdef", "rows": 842}]
    run = await service.submitted(None, origin=origin(), inputs=inputs, gate="evaluate.auc > 0.9")
    mirror = mirror_of(metrics={"evaluate.auc": 0.75})
    assert mirror.metrics == (Metric(task_path="evaluate", name="auc", value=0.75),)
    await service.ended(run, mirror=mirror)
    html = await page(service, f"/runs/{run['run_id']}")
    for expected in (
        "evaluate.auc",
        "0.75",
        "file:///data/day=1",
        "842",
        "not passed",
        "scheduled__",
        "epochs",
    ):
        assert expected in html
    assert run["kfp_run_id"] in html
    assert any(f"/#/runs/details/{run['kfp_run_id']}" in link for link in Page(html).links)


async def test_a_failed_run_shows_its_cause_first(service: Harness) -> None:
    run = await service.submitted()
    service.kfp.logs["pod-train"] = "ValueError: no flights\n"
    await service.ended(run, "FAILED")
    html = await page(service, f"/runs/{run['run_id']}")
    assert html.index("Failed in train") < html.index("Asked for by")
    assert "ValueError: no flights" in html


async def test_a_stale_backend_is_told(service: Harness) -> None:
    await service.submitted()
    service.kfp.down = True
    await service.track_worker.step()
    assert "does not answer" in await page(service, "/")


async def test_older_runs_are_one_link_away(service: Harness) -> None:
    for index in range(51):
        assert (await service.submit(f"k{index}")).status_code == 202
    html = await page(service, "/?text=training")
    (older,) = [link for link in Page(html).links if "cursor=" in link]
    assert "text=training" in older
    assert len(re.findall('data-label="Run"', await page(service, older))) == 1


async def test_go_finds_the_run_of_a_task(service: Harness) -> None:
    run = await service.submitted(None, origin=origin())
    task = {"dag_id": "retraining", "dag_run_id": "scheduled__2026-08-01", "task_id": "train"}
    found = await service.client.get("/go", params=task)
    assert (found.status_code, found.headers["location"]) == (302, f"/runs/{run['run_id']}")
    unmapped = await service.client.get("/go", params={**task, "map_index": "{MAP_INDEX}"})
    assert unmapped.headers["location"] == f"/runs/{run['run_id']}"
    assert (await service.client.get("/go", params={**task, "map_index": "x"})).status_code == 422
    missing = await service.client.get("/go", params={**task, "task_id": "other"})
    assert missing.headers["location"] == "/?dag_id=retraining&dag_run_id=scheduled__2026-08-01"


async def test_the_style_sheet_comes_from_the_service(service: Harness) -> None:
    answer = await service.client.get("/static/kfbridge.css")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "prefers-color-scheme: dark" in answer.text
