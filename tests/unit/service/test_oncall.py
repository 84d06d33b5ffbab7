"""``GET /oncall``: failures by cause, what is stuck, what never started."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlmodel import Session

from bridge.domain.lineage import RunError, RunMirror
from bridge.lineage.runs import change_run
from bridge.lineage.tables import RUNS
from tests.unit.service.harness import Harness, mirror_of

LABELS = {"owner": "ml-platform", "runbook": "https://wiki.example/training"}


async def _oncall(service: Harness, **params: str) -> dict[str, Any]:
    answer = await service.client.get("/api/v1/oncall", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _moved(service: Harness, run: dict[str, Any], **columns: Any) -> None:
    """As if the run had been submitted at another time."""

    def write(session: Session) -> None:
        session.execute(RUNS.update().where(RUNS.c.run_id == UUID(run["run_id"])).values(**columns))

    await service.context.store.transact(write)


async def test_nothing_is_wrong_with_nothing(service: Harness) -> None:
    found = await _oncall(service)
    assert (found["failures"], found["stuck"], found["missing"]) == ([], [], [])
    assert (found["window_seconds"], found["truncated"]) == (86400.0, False)


async def test_failures_are_grouped_by_their_cause(service: Harness) -> None:
    for number, exception in enumerate(("ValueError: no rows", "KeyError: 'x'", "MemoryError")):
        run = await service.submitted(f"k{number}", labels=LABELS)
        trace = f'Traceback (most recent call last):\n  File "train.py", line 2, in fit\n{exception}\n'
        service.kfp.logs["pod-train"] = trace
        await service.ended(run, "FAILED", mirror=mirror_of("FAILED"))
    await service.ended(await service.submitted("good"))
    code, memory = (await _oncall(service))["failures"]
    assert (code["kind"], code["group"], code["count"]) == ("code", "code", 2)
    assert (memory["kind"], memory["group"], memory["count"]) == ("out_of_memory", "quota", 1)
    assert (code["owner"], code["runbook"]) == (LABELS["owner"], LABELS["runbook"])
    assert code["pipelines"] == [{"name": "training", "project": "default", "count": 2}]
    assert "KeyError" in code["message"]
    assert len(code["runs"]) == 2
    assert (await _oncall(service, project="other"))["failures"] == []


async def test_of_code_its_exception_is_told_with_its_line(service: Harness) -> None:
    run = await service.submitted()
    service.kfp.logs["pod-train"] = (
        'Traceback (most recent call last):\n  File "train.py", line 2, in fit\nValueError: no rows\n\n'
    )
    root, train = mirror_of("FAILED").tasks
    told = replace(train, error=RunError(message="main: Error (exit code 1)"))
    await service.ended(run, "FAILED", mirror=RunMirror(tasks=(root, told)))
    (code,) = (await _oncall(service))["failures"]
    said = "ValueError: no rows (train.py:2 in fit)"
    assert (code["message"], code["runs"][0]["error"]) == (said, said)
    await service.sequencer.step()
    told = (await service.client.get(f"/api/v1/runs/{run['run_id']}/events")).json()["items"][-1]
    assert (told["type"], told["data"]["error"]["message"]) == ("run.settled", said)


async def test_a_run_beyond_its_usual_time_is_stuck(service: Harness) -> None:
    for number in range(3):
        await service.ended(await service.submitted(f"k{number}"))
    stuck, fresh = [await service.submitted(name, labels=LABELS) for name in ("stuck", "fresh")]
    for run in (stuck, fresh):
        service.kfp.start(run["kfp_run_id"])
    await service.follow()
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    await service.context.store.transact(lambda s: change_run(s, UUID(stuck["run_id"]), started_at=long_ago))
    (found,) = (await _oncall(service))["stuck"]
    assert found["run_id"] == stuck["run_id"]
    assert found["running_seconds"] > 7000
    assert found["limit_seconds"] >= 60
    assert "the last 3 good runs took" in found["why"]
    assert found["owner"] == "ml-platform"


async def test_a_run_that_never_started_is_missed(service: Harness) -> None:
    now = datetime.now(UTC)
    for number in range(6):
        run = await service.submitted(
            f"k{number}", origin={"dag_id": "nightly", "dag_run_id": f"scheduled__{number}"}
        )
        await _moved(service, run, created_at=now - timedelta(days=7 - number))
    (found,) = (await _oncall(service))["missing"]
    assert (found["pipeline"], found["dag_id"]) == ("training", "nightly")
    assert found["every_seconds"] == pytest.approx(86400, abs=5)
    assert found["late_seconds"] == pytest.approx(86400, abs=60)
    # One by hand does not stand for it.
    await service.submitted("by hand")
    assert len((await _oncall(service))["missing"]) == 1
    await service.submitted("k6", origin={"dag_id": "nightly", "dag_run_id": "scheduled__6"})
    assert (await _oncall(service))["missing"] == []


@pytest.mark.parametrize("window", ["", "8d", "0h", "1y", "-1h", "10000000h"])
async def test_a_window_that_is_none_is_refused(service: Harness, window: str) -> None:
    answer = await service.client.get("/api/v1/oncall", params={"window": window})
    assert answer.status_code == 422
