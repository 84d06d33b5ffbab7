"""``skip_if_unchanged``: when the last good run is the answer, and that it stays the answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.service.harness import Harness
from tests.unit.service.test_repeating import origin

INPUTS = [{"name": "flights", "uri": "s3://lake/day=1", "version": "abc", "version_kind": "sha256"}]
BODY: dict[str, Any] = {"arguments": {"epochs": 3}, "inputs": INPUTS, "skip_if_unchanged": True}


async def a_good_run(service: Harness, key: str = "first", **body: Any) -> dict[str, Any]:
    run = await service.submitted(key, **{**BODY, **body})
    ended = await service.ended(run)
    assert ended["good"] is True
    return ended


async def test_the_last_good_run_is_the_answer_and_nothing_is_sent(service: Harness) -> None:
    good = await a_good_run(service)
    answer = await service.submit("second", **BODY)
    assert answer.status_code == 202
    assert answer.headers["skipped-unchanged"] == answer.headers["idempotency-replayed"] == "true"
    assert answer.headers["location"] == f"/api/v1/runs/{good['run_id']}"
    run = answer.json()
    assert (run["run_id"], run["over"], run["good"]) == (good["run_id"], True, True)
    assert "nothing changed since this run" in run["warnings"][0]
    await service.send()
    assert service.kfp.posts() == 1
    assert len(await service.stored()) == 1


async def test_a_repeat_gets_that_run_even_if_another_is_the_last_good_one_now(service: Harness) -> None:
    good = await a_good_run(service)
    first = await service.submit("second", **BODY)
    await a_good_run(service, "third", arguments={"epochs": 4})
    again = await service.submit("second", **BODY)
    assert again.json()["run_id"] == first.json()["run_id"] == good["run_id"]
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_task_that_is_tried_or_cleared_again_gets_it_too(service: Harness) -> None:
    good = await a_good_run(service)
    for task in (origin(1), origin(2), origin(1, max_tries=3)):
        answer = await service.submit(None, origin=task, **BODY)
        assert answer.json()["run_id"] == good["run_id"]
    assert len(await service.stored()) == 1


async def test_a_cleared_task_whose_run_is_active_does_what_on_clear_says(service: Harness) -> None:
    await a_good_run(service)
    old = await service.submitted(None, origin=origin(1), **{**BODY, "skip_if_unchanged": False})
    new = await service.submit(None, origin=origin(1, max_tries=3), **BODY)
    assert new.json()["run_id"] != old["run_id"]
    assert "skipped-unchanged" not in new.headers
    assert (await service.run(old["run_id"]))["cancel_requested_at"] is not None


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"epochs": 4}},
        {"inputs": [{**INPUTS[0], "version": "abd"}]},
        {"inputs": []},
        {"gate": "evaluate.auc >= 0.5"},
        {"project": "another"},
        {"skip_if_unchanged": False},
    ],
)
async def test_what_changed_is_run(service: Harness, change: dict[str, Any]) -> None:
    good = await a_good_run(service)
    answer = await service.submit("second", **{**BODY, **change})
    assert answer.json()["run_id"] != good["run_id"]
    assert "skipped-unchanged" not in answer.headers
    assert answer.json()["warnings"] == []


async def test_a_version_that_is_unknown_is_never_the_same(service: Harness) -> None:
    inputs = [{"name": "flights", "uri": "s3://lake/day=1"}]
    good = await a_good_run(service, inputs=inputs)
    answer = await service.submit("second", **{**BODY, "inputs": inputs})
    assert answer.json()["run_id"] != good["run_id"]
    assert "the version of s3://lake/day=1 is unknown (1 of 1 inputs)" in answer.json()["warnings"][0]


async def test_a_run_that_failed_is_no_answer(service: Harness) -> None:
    failed = await service.submitted("first", **BODY)
    await service.ended(failed, "FAILED")
    answer = await service.submit("second", **BODY)
    assert answer.json()["run_id"] != failed["run_id"]


async def test_a_body_without_the_field_is_the_body_with_false(service: Harness) -> None:
    first = await service.submitted("k")
    again = await service.submit("k", skip_if_unchanged=False)
    assert again.json()["run_id"] == first["run_id"]
    other = await service.submit("k", skip_if_unchanged=True)
    assert other.status_code == 422
