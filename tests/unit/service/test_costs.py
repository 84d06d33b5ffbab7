"""``GET /cost`` and ``GET /runs/{id}/cost``."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select
from sqlmodel import Session

from bridge.domain.states import RunPhase
from bridge.domain.usage import Prices
from bridge.lineage import runs, usage
from bridge.lineage.database import Database
from bridge.lineage.mirror import store_mirror
from bridge.lineage.tables import PRICES as STORED
from bridge.lineage.tables import USAGE_TOTALS
from bridge.service.backend_settings import PriceSettings
from bridge.service.workers.usage import UsageCounter
from tests.support import handmade
from tests.unit.service.harness import Harness, harness, mirror_of

NOW = datetime.now(UTC).replace(microsecond=0)
PRICES = (
    PriceSettings(resource="cpu", per_hour=0.04),
    PriceSettings(resource="nvidia.com/gpu", per_hour=3.0, backend="default"),
)


def _spec() -> str:
    resources = {
        "resourceCpuRequest": "2",
        "resourceMemoryLimit": "4Gi",
        "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "1"},
    }
    component = handmade.component(executorLabel="exec-train")
    tasks = {"train": handmade.task("train", "comp-train")}
    executors = {"exec-train": handmade.sh("true", resources=resources)}
    return json.dumps(handmade.document(tasks, {"comp-train": component}, executors, name="gpu-train"))


async def _ran(service: Harness) -> dict[str, Any]:
    run = await service.submitted(spec=_spec(), arguments={}, origin={"team": "risk"})
    mirror = mirror_of()
    train = replace(
        mirror.tasks[1], started_at=NOW - timedelta(hours=2), finished_at=NOW - timedelta(hours=1)
    )
    return await service.ended(run, mirror=replace(mirror, tasks=(mirror.tasks[0], train)))


async def test_what_a_run_used_and_cost(database: Database) -> None:
    async with harness(database, prices=PRICES, currency="EUR") as service:
        run = await _ran(service)
        found = (await service.client.get(f"/api/v1/runs/{run['run_id']}/cost")).json()
        (task,) = found["tasks"]
        assert (task["path"], task["seconds"], task["cpu_hours"], task["gpu_hours"]) == (
            "train",
            3600,
            2.0,
            1.0,
        )
        assert (found["total"]["cost"], found["currency"]) == (3.08, "EUR")
        assert found["total"]["unpriced"] == ["memory"]
        assert found["total"]["accelerator_hours"] == {"nvidia.com/gpu": 1.0}


async def test_a_task_of_a_lost_run_is_charged_until_the_run_was_lost(database: Database) -> None:
    async with harness(database, prices=PRICES) as service:
        run = await service.submitted(spec=_spec(), arguments={}, origin={"team": "risk"})
        await service.sweep()
        run_id = UUID(run["run_id"])
        began, lost = NOW - timedelta(days=3), NOW - timedelta(days=3, hours=-1)
        mirror = mirror_of("RUNNING")
        train = replace(mirror.tasks[1], started_at=began)

        def lose(session: Session) -> None:
            store_mirror(session, run_id, replace(mirror, tasks=(mirror.tasks[0], train)))
            told: dict[str, Any] = {"phase": RunPhase.LOST, "started_at": began}
            runs.change_run(session, run_id, event="run.lost", **told, observed_at=lost, settled_at=lost)

        await service.context.store.transact(lose)
        found = (await service.client.get(f"/api/v1/runs/{run_id}/cost")).json()
        assert [task["seconds"] for task in found["tasks"]] == [3600]
        assert (found["total"]["run_hours"], found["total"]["cost"]) == (1.0, 3.08)
        while await service.sequencer.step():
            pass
        while await UsageCounter(service.context).step():
            pass
        month = lost.strftime("%Y-%m")
        answer = await service.client.get("/api/v1/cost", params={"by": "team", "from": month, "to": month})
        (item,) = answer.json()["items"]
        assert (item["key"], item["runs"], item["run_hours"], item["cost"]) == ("risk", 1, 1.0, 3.08)


class Failing(UsageCounter):
    """Its first batch goes wrong."""

    async def step(self) -> int:
        raise RuntimeError("wrong")


async def test_prices_are_written_down_once_in_a_process(database: Database) -> None:
    async with harness(database, prices=PRICES) as service:
        counter = Failing(service.context)
        with pytest.raises(RuntimeError, match="wrong"):
            await counter.run()
        assert database.read(lambda s: s.scalars(select(STORED.c.currency)).all())
        # As `kfbridge apply` does meanwhile.
        database.transact(lambda s: usage.store_prices(s, Prices({("", "cpu"): 7.0}), "USD"))
        with pytest.raises(RuntimeError, match="wrong"):
            await counter.run()
        assert database.read(lambda s: s.scalars(select(STORED.c.per_hour)).all()) == [7.0]


async def test_costs_by_team_and_month_after_they_were_counted(database: Database) -> None:
    async with harness(database, prices=PRICES) as service:
        await _ran(service)
        while await service.sequencer.step():
            pass
        before = (await service.client.get("/api/v1/cost")).json()
        assert before["items"] == []
        assert before["pending"] > 0
        while await UsageCounter(service.context).step():
            pass
        found = (await service.client.get("/api/v1/cost", params={"by": "team"})).json()
        (item,) = found["items"]
        assert (item["key"], item["runs"], item["cpu_hours"], item["memory_gib_hours"]) == (
            "risk",
            1,
            2.0,
            4.0,
        )
        assert (item["cost"], found["total"]["cost"], found["pending"]) == (3.08, 3.08, 0)
        assert found["first_month"] == found["last_month"]
        assert {(one["backend"], one["resource"]) for one in found["prices"]} == {
            (None, "cpu"),
            ("default", "nvidia.com/gpu"),
        }
        past = await service.client.get("/api/v1/cost", params={"from": "2013-01", "to": "2013-02"})
        assert past.json()["items"] == []


async def test_the_total_counts_what_the_list_leaves_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MAX_ITEMS", 2)

    def fill(session: Session) -> None:
        for number in range(1, 4):
            place = {"month": "2013-01", "project": "default", "pipeline": f"p{number}", "team": "risk"}
            for resource, hours in (("run", float(number)), ("cpu", 10.0)):
                row = {**place, "backend": "default", "resource": resource, "runs": 1, "hours": hours}
                session.execute(insert(USAGE_TOTALS).values(**row))

    async with harness(database, prices=PRICES) as service:
        await service.context.store.transact(fill)
        months = {"from": "2013-01", "to": "2013-01"}
        found = (await service.client.get("/api/v1/cost", params=months)).json()
        assert ([item["key"] for item in found["items"]], found["truncated"]) == (["p3", "p2"], True)
        total = found["total"]
        assert (total["run_hours"], total["cpu_hours"], total["cost"]) == (6.0, 30.0, 1.2)
        one = await service.client.get("/api/v1/cost", params={**months, "pipeline": "p1"})
        assert one.json()["total"]["cpu_hours"] == 10.0


@pytest.mark.parametrize(
    "params", [{"by": "day"}, {"from": "2013"}, {"from": "2013-13"}, {"from": "2013-02", "to": "2013-01"}]
)
async def test_what_is_no_question_is_refused(service: Harness, params: dict[str, str]) -> None:
    assert (await service.client.get("/api/v1/cost", params=params)).status_code == 422
