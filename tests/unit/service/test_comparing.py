"""``GET /compare``: what differs between runs that the service has followed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from bridge.domain.lineage import MetricBlob
from tests.unit.service.harness import SPEC, Harness, mirror_of

ROC = {"confidenceMetrics": [{"confidenceThreshold": 0.5, "recall": 0.9, "falsePositiveRate": 0.1}]}


async def _run(service: Harness, key: str, auc: float, **body: Any) -> dict[str, Any]:
    run = await service.submitted(key, **body)
    blob = MetricBlob(task_path="train", name="roc", kind="roc", content=ROC | {"of": key})
    mirror = replace(mirror_of(metrics={"train.auc": auc, "train.rows": 10.0}), blobs=(blob,))
    return await service.ended(run, mirror=mirror)


def _section(found: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        row["name"]: row
        for section in found["sections"]
        if section["name"] == name
        for row in section["rows"]
    }


async def test_two_runs_side_by_side_differences_first(service: Harness) -> None:
    inputs = [{"name": "flights", "uri": "s3://lake/day=1", "version": "v1", "rows": 10}]
    first = await _run(service, "a", 0.7, arguments={"epochs": 3}, inputs=inputs)
    inputs = [{"name": "flights", "uri": "s3://lake/day=1", "version": "v2", "rows": 12}]
    spec = SPEC.replace("print('trained')", "print('trained better')").replace("python:3.11", "python:3.12")
    second = await _run(service, "b", 0.8, spec=spec, arguments={"epochs": 5}, inputs=inputs, caching=False)

    answer = await service.client.get("/api/v1/compare", params={"run": [first["run_id"], second["run_id"]]})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [one["run_id"] for one in found["runs"]] == [first["run_id"], second["run_id"]]
    assert {"parameters", "metrics", "pipeline", "images", "data", "environment"} <= set(found["differing"])
    epochs = next(section for section in found["sections"] if section["name"] == "parameters")["rows"][0]
    assert (epochs["name"], epochs["values"], epochs["change"]) == ("epochs", [3, 5], 2.0)
    assert _section(found, "metrics")["train.auc"]["differs"] is True
    assert _section(found, "metrics")["train.rows"]["differs"] is False
    assert _section(found, "data")["flights: version"]["values"] == ["v1", "v2"]
    assert _section(found, "data")["flights"]["differs"] is False
    assert _section(found, "images")["train"]["values"] == ["python:3.11", "python:3.12"]
    assert _section(found, "pipeline")["train: code"]["differs"] is True
    assert _section(found, "environment")["caching"]["values"] == [None, False]
    assert [blob["contents"][1]["of"] for blob in found["blobs"]] == ["b"]
    assert found["unknown"] == []


async def test_secrets_that_differ_are_told_to_and_stay_secret(service: Harness) -> None:
    spec = SPEC.replace("epochs", "api_key").replace("NUMBER_INTEGER", "STRING")
    ids = []
    for key in ("a", "b"):
        inputs = [{"name": "flights", "uri": f"https://lake.example/day?X-Amz-Signature=sign-{key}"}]
        run = await _run(service, key, 0.7, spec=spec, arguments={"api_key": f"bird-{key}"}, inputs=inputs)
        ids.append(run["run_id"])
    answer = await service.client.get("/api/v1/compare", params={"run": ids})
    found = answer.json()
    row = _section(found, "parameters")["api_key"]
    assert (row["differs"], row["values"]) == (True, ["***", "***"])
    assert _section(found, "data")["flights"]["differs"] is False
    assert "bird-" not in answer.text
    assert "sign-" not in answer.text


async def test_what_nobody_told_is_said_and_differs_from_nothing(service: Harness) -> None:
    inputs = [{"name": "flights", "uri": "s3://lake/day=1"}]
    first = await _run(service, "a", 0.7, inputs=inputs)
    second = await service.submitted("b", inputs=inputs)
    answer = await service.client.get("/api/v1/compare", params={"run": [first["run_id"], second["run_id"]]})
    found = answer.json()
    assert _section(found, "data")["flights: version"]["differs"] is None
    assert "data" not in found["differing"]
    assert any(text.startswith("the version of s3://lake/day=1 of training") for text in found["unknown"])
    assert any(text.startswith("how it ends of") for text in found["unknown"])


async def test_what_cannot_be_compared_is_refused(service: Harness) -> None:
    run = await service.submitted("a")
    for params, status in (
        ([run["run_id"]], 422),
        ([run["run_id"], run["run_id"]], 422),
        ([run["run_id"], str(uuid4())], 404),
        ([run["run_id"], "x"], 422),
        ([str(uuid4()) for _ in range(6)], 422),
    ):
        answer = await service.client.get("/api/v1/compare", params={"run": params})
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
