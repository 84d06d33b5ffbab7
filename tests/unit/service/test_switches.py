"""A paused backend is sent nothing new, whatever was on its way; a drain tells when nothing is under way."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session, select

from bridge.lineage import leases, outbox, queue, switches
from bridge.lineage.database import Database
from bridge.lineage.errors import FencedOut
from bridge.lineage.tables import AUDIT
from tests.unit.service.harness import Harness, harness


async def switch(service: Harness, verb: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await service.client.post(f"/api/v1/backends/default:{verb}", json=body)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def events(service: Harness) -> list[str]:
    await service.sequencer.step()
    found = await service.context.store.read(lambda s: outbox.events_after(s, 0))
    return [event.type for event in found if event.type.startswith("backend.")]


async def test_a_paused_backend_is_sent_nothing_until_it_is_resumed(database: Database) -> None:
    async with harness(database) as service:
        under_way = await service.submitted("first")
        told = await switch(service, "pause", reason="disks are changed")
        assert told["switch"] | {"since": ""} == {
            "backend": "default",
            "mode": "paused",
            "since": "",
            "reason": "disks are changed",
            "drained_at": None,
            "active_runs": 1,
        }
        waiting = await service.submitted("second")
        assert waiting["phase"] == "QUEUED"
        assert waiting["waiting"] == "queued: backend default is paused (disks are changed), 0 before it"
        assert (await service.ended(under_way))["state"] == "SUCCEEDED"
        assert len(service.kfp.runs) == 1
        assert (await switch(service, "resume"))["switch"] is None
        await service.send()
        assert len(service.kfp.runs) == 2
        assert await events(service) == ["backend.paused", "backend.resumed"]


async def test_a_run_that_had_its_place_already_goes_back_into_the_queue(database: Database) -> None:
    async with harness(database) as service:
        early, late = [(await service.submit(key)).json() for key in ("early", "late")]
        claims = await service.context.store.transact(lambda s: service.submit_worker._claim_due(s, 1))
        assert [str(one.run.run_id) for one in claims] == [early["run_id"]]
        await switch(service, "pause")
        await service.submit_worker._work(claims[0])
        assert service.kfp.runs == {}
        for run, before in ((early, 0), (late, 1)):
            shown = await service.run(run["run_id"])
            assert shown["waiting"] == f"queued: backend default is paused, {before} before it"
        assert await service.context.store.read(lambda s: queue.active_runs(s, "default")) == {}
        await switch(service, "resume")
        await service.send()
        assert len(service.kfp.runs) == 2


async def test_a_place_is_not_given_back_by_a_worker_whose_claim_was_lost(database: Database) -> None:
    async with harness(database) as service:
        await service.submit("first")
        (late,) = await service.context.store.transact(lambda s: service.submit_worker._claim_due(s, 1))
        # Its lease ran out, and another worker has the run.
        await service.context.store.transact(lambda s: leases.extend(s, late, 0.0))
        (held,) = await service.context.store.transact(lambda s: service.submit_worker._claim_due(s, 1))
        await switch(service, "pause")
        with pytest.raises(FencedOut):
            await service.submit_worker._work(late)
        assert await service.context.store.read(lambda s: queue.active_runs(s, "default")) == {"default": 1}
        await switch(service, "resume")
        await service.submit_worker._work(held)
        assert len(service.kfp.runs) == 1


async def test_a_pause_between_the_look_and_the_post_holds_the_post_back(database: Database) -> None:
    async with harness(database) as service:
        run = (await service.submit("first")).json()
        (claim,) = await service.context.store.transact(lambda s: service.submit_worker._claim_due(s, 1))
        await switch(service, "pause")
        await service.submit_worker._post(claim)
        assert service.kfp.runs == {}
        assert (await service.run(run["run_id"]))["phase"] == "QUEUED"


async def test_a_queued_run_of_a_paused_backend_can_be_canceled(database: Database) -> None:
    async with harness(database) as service:
        await switch(service, "pause")
        run = await service.submitted("first")
        await service.client.post(f"/api/v1/runs/{run['run_id']}:cancel", json={})
        await service.send()
        assert (await service.run(run["run_id"]))["state"] == "CANCELED"
        assert service.kfp.runs == {}


async def test_a_drain_is_told_once_when_nothing_is_under_way(database: Database) -> None:
    async with harness(database) as service:
        run = await service.submitted("first")
        assert (await switch(service, "pause", drain=True))["switch"]["mode"] == "draining"
        await service.send()
        assert "backend.drained" not in await events(service)
        await service.ended(run)
        await service.send()
        (told,) = (await service.client.get("/api/v1/status")).json()["backends"]
        assert told["switch"]["mode"] == "drained"
        assert told["switch"]["drained_at"] is not None
        await service.send()
        assert await events(service) == ["backend.paused", "backend.drained"]
        # What is idle already is drained at once, and told each time it is asked for.
        assert (await switch(service, "pause", drain=True))["switch"]["mode"] == "drained"
        assert await events(service) == ["backend.paused", "backend.drained"] * 2


async def test_failed_tasks_are_not_started_again_at_a_paused_backend(database: Database) -> None:
    async with harness(database) as service:
        failed = await service.ended(await service.submitted("first"), "FAILED")
        await switch(service, "pause")
        answer = await service.client.post(f"/api/v1/runs/{failed['run_id']}:retry")
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:kfbridge:problem:backend-paused"


async def test_a_switch_is_audited_and_survives_the_process(database: Database) -> None:
    async with harness(database) as service:
        await switch(service, "pause", drain=True, reason="r")
        assert (await service.client.post("/api/v1/backends/none:pause")).status_code == 404
        assert (await service.client.post("/api/v1/backends/none:resume")).status_code == 404
    async with harness(database) as service:
        run = await service.submitted("first")
        assert (await service.run(run["run_id"]))[
            "waiting"
        ] == "queued: backend default is drained (r), 0 before it"
        await switch(service, "resume")
        await switch(service, "resume")

        def audited(session: Session) -> list[tuple[str, str]]:
            return [(row.action, row.backend) for row in session.execute(select(AUDIT).order_by(AUDIT.c.id))]

        assert await service.context.store.read(audited) == [
            ("backend.pause", "default"),
            ("backend.resume", "default"),
        ]
        assert await service.context.store.read(switches.switches) == {}
