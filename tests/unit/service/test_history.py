"""``GET /pipelines/{name}`` and its metrics: a pipeline over time."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.lineage import history
from tests.unit.service.harness import Harness, mirror_of

URL = "/api/v1/pipelines/training"


async def _runs(service: Harness, *values: float | None, **body: Any) -> list[dict[str, Any]]:
    made = []
    for number, value in enumerate(values):
        run = await service.submitted(f"{body.get('display_name', '')}{number}", **body)
        state = "FAILED" if value is None else "SUCCEEDED"
        metrics = {} if value is None else {"train.auc": value}
        made.append(await service.ended(run, state, mirror=mirror_of(state, metrics)))
    return made


async def _trend(service: Harness, **params: Any) -> dict[str, Any]:
    answer = await service.client.get(f"{URL}/metrics", params={"name": "train.auc", **params})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_pipeline_with_its_runs_as_a_grid(service: Harness) -> None:
    labels = {"owner": "ml-platform", "runbook": "https://wiki.example/training"}
    runs = await _runs(service, 0.7, 0.71, None, 0.72, labels=labels)
    answer = await service.client.get(URL, params={"limit": 3})
    found = answer.json()
    assert answer.status_code == 200
    assert [one["run_id"] for one in found["runs"]] == [run["run_id"] for run in reversed(runs[1:])]
    assert found["tasks"] == ["train"]
    assert [one["tasks"]["train"]["state"] for one in found["runs"]] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert found["last_good"]["run_id"] == runs[-1]["run_id"]
    assert (found["owner"], found["runbook"]) == ("ml-platform", "https://wiki.example/training")
    assert found["metrics"] == ["train.auc"]
    assert [one["digest"] for one in found["versions"]] == [found["digest"]]
    assert found["duration"]["runs"] == 3
    assert found["duration"]["usual_max_seconds"] >= 60
    rest = await service.client.get(URL, params={"limit": 3, "cursor": found["next_cursor"]})
    assert [one["run_id"] for one in rest.json()["runs"]] == [runs[0]["run_id"]]
    assert rest.json()["next_cursor"] is None


async def test_a_pipeline_that_nobody_knows_is_not_found(service: Harness) -> None:
    await _runs(service, 0.7)
    assert (await service.client.get("/api/v1/pipelines/other")).status_code == 404
    assert (await service.client.get(URL, params={"project": "other"})).status_code == 404
    assert (await service.client.get(URL, params={"cursor": "x"})).status_code == 422


async def test_regressions_are_marked_by_the_rule_that_is_stated(service: Harness) -> None:
    runs = await _runs(service, 0.70, 0.71, 0.69, 0.5, None, 0.70)
    found = await _trend(service)
    assert [point["run_id"] for point in found["points"]] == [run["run_id"] for run in runs]
    assert [point["regression"] for point in found["points"]] == [None, None, None, True, None, False]
    assert found["points"][0]["reason"] == "no good run before it"
    assert found["points"][4]["reason"] == "no value"
    assert (found["regressions"], found["truncated"]) == (1, False)
    assert (found["rule"]["kind"], found["rule"]["direction"]) == ("median", "higher")
    assert found["last_good"]["run_id"] == runs[-1]["run_id"]
    lower = await _trend(service, direction="lower")
    assert [point["regression"] for point in lower["points"]][3:] == [False, None, False]


async def test_a_page_of_a_trend_knows_what_was_before_it(service: Harness) -> None:
    await _runs(service, 0.70, 0.71, 0.69, 0.70, 0.5)
    found = await _trend(service, limit=1)
    assert [point["regression"] for point in found["points"]] == [True]
    assert found["truncated"]
    older = await _trend(service, limit=1, before=found["points"][0]["created_at"])
    assert [point["value"] for point in older["points"]] == [0.7]


async def test_the_pipelines_own_gate_is_the_rule_where_it_judges_the_metric(service: Harness) -> None:
    gate = "train.auc >= last_good - 0.05 && train.rows >= 1"
    await _runs(service, 0.70, 0.69, 0.5, gate=gate)
    found = await _trend(service)
    assert (found["rule"]["kind"], found["rule"]["expression"]) == ("gate", "train.auc >= last_good - 0.05")
    # Without rows the whole gate could not be judged: no run is good, and none is compared with another.
    assert [point["regression"] for point in found["points"]] == [False, False, False]
    asked = await _trend(service, rule="train.auc > 0.6")
    assert [point["regression"] for point in asked["points"]] == [False, False, True]
    assert "train.auc > 0.6 (train.auc = 0.5)" in asked["points"][2]["reason"]
    assert (await _trend(service, rule="median"))["rule"]["kind"] == "median"


async def test_a_gate_compares_with_the_good_run_before(service: Harness) -> None:
    await _runs(service, 0.70, 0.69, 0.5, 0.66, gate="train.auc >= last_good - 0.05")
    found = await _trend(service)
    assert [point["regression"] for point in found["points"]] == [False, False, True, False]


async def test_marks_stay_where_the_newest_runs_all_failed(
    service: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_RUNS_FOR_KEYS", 2)
    await _runs(service, 0.70, 0.69, 0.5, gate="train.auc >= last_good - 0.05")
    for number in range(3):
        run = await service.submitted(f"failed {number}")
        await service.ended(run, "FAILED", mirror=mirror_of("FAILED"))
    found = await _trend(service, rule="train.auc >= last_good - 0.05")
    assert [point["regression"] for point in found["points"]] == [False, False, True, None, None, None]
    answer = await service.client.get("/api/v1/pipelines/training", params={"limit": 3})
    assert "train.auc" in answer.json()["metrics"]


async def test_how_long_runs_took_is_a_trend_too(service: Harness) -> None:
    await _runs(service, 0.7, 0.7, 0.7, 0.7)
    found = await _trend(service, name="duration")
    assert all(point["value"] is not None for point in found["points"])
    assert (found["rule"]["direction"], found["points"][-1]["regression"]) == ("lower", False)
    queued = await _trend(service, name="queued")
    assert all(point["value"] is not None for point in queued["points"])


@pytest.mark.parametrize(
    "params",
    [
        {"rule": "((("},
        {"rule": "train.loss > 1"},
        {"window": "2"},
        {"limit": "201"},
        {"direction": "up"},
        {"name": ""},
    ],
)
async def test_what_is_no_question_is_refused(service: Harness, params: dict[str, str]) -> None:
    answer = await service.client.get(f"{URL}/metrics", params={"name": "train.auc", **params})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
