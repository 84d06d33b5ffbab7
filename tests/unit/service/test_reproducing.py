"""``POST /runs/{id}:reproduce`` at its edges; twenty real runs are in the integration tests."""

from __future__ import annotations

import json
from uuid import uuid4

from tests.support import handmade
from tests.unit.service.harness import Harness


def _with_packages(*requirements: str) -> str:
    listed = " ".join(f"'{one}'" for one in requirements)
    script = f'python3 -m pip install --quiet {listed} && "$0" "$@"'
    image = f"python@sha256:{'ab' * 32}"
    executor = {"container": {"image": image, "command": ["sh", "-c", script, "python3", "-c", "pass"]}}
    component = handmade.component(executorLabel="exec-train")
    tasks = {"train": handmade.task("train", "comp-train")}
    return json.dumps(handmade.document(tasks, {"comp-train": component}, {"exec-train": executor}))


async def test_packages_without_a_version_float(service: Harness) -> None:
    run = await service.submitted(spec=_with_packages("pandas==2.1", "scikit-learn"), arguments={})
    answer = await service.client.post(f"/api/v1/runs/{run['run_id']}:reproduce", json={"dry_run": True})
    found = answer.json()["reproducibility"]
    assert [(one["kind"], one["name"]) for one in found["reasons"]] == [("package", "train: scikit-learn")]
    assert found["grade"] == "same-spec"
    pinned = await service.submitted("k2", spec=_with_packages("pandas==2.1"), arguments={})
    explained = (await service.client.get(f"/api/v1/runs/{pinned['run_id']}/explain")).json()
    assert explained["reproducibility"] == {"grade": "exact", "reasons": []}
    assert (explained["backend"], explained["spec_digest"]) == ("default", pinned["pipeline"]["digest"])


async def test_a_key_makes_repeats_one_run(service: Harness) -> None:
    run = await service.submitted(labels={"team": "ops"}, display_name="nightly")
    address, headers = f"/api/v1/runs/{run['run_id']}:reproduce", {"Idempotency-Key": "again"}
    first = await service.client.post(address, json={}, headers=headers)
    second = await service.client.post(address, json={}, headers=headers)
    assert (first.status_code, second.status_code) == (202, 202)
    made = first.json()["run"]
    assert second.json()["run"]["run_id"] == made["run_id"] != run["run_id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (made["display_name"], made["arguments"]) == ("nightly (again)", run["arguments"])
    assert made["labels"] == {"team": "ops", "kfbridge/reproduces": run["run_id"]}


async def test_what_cannot_be_made_again_is_refused(service: Harness) -> None:
    assert (await service.client.post(f"/api/v1/runs/{uuid4()}:reproduce", json={})).status_code == 404
    run = await service.submitted()
    address = f"/api/v1/runs/{run['run_id']}:reproduce"
    assert (await service.client.post(address, json={"allow": "impossible"})).status_code == 422
    answer = await service.client.post(address, json={"allow": "exact"})
    assert answer.status_code == 409
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/image"]


async def test_data_that_cannot_be_measured_is_named_in_the_version_that_the_run_read(
    service: Harness,
) -> None:
    def flights(version: str) -> list[dict[str, str]]:
        return [{"name": "flights", "uri": "s3://data/flights", "version": version, "version_kind": "etag"}]

    run = await service.submitted("k1", inputs=flights("v1"))
    await service.submitted("k2", inputs=flights("v2"))
    answer = await service.client.post(f"/api/v1/runs/{run['run_id']}:reproduce", json={})
    reasons = answer.json()["reproducibility"]["reasons"]
    assert [one["effect"] for one in reasons if one["kind"] == "input"] == ["moved"]
    again = answer.json()["run"]["run_id"]
    (item,) = (await service.client.get(f"/api/v1/runs/{again}/explain")).json()["inputs"]
    assert (item["version"], item["version_kind"]) == ("v1", "etag")
