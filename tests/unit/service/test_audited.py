"""The audit log names whoever did it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest
from sqlmodel import Session

from bridge.lineage import audit, audit_chain
from bridge.lineage.database import Database
from tests.unit.service.harness import SPEC, Harness, harness

ORIGIN = {"dag_id": "d", "dag_run_id": "r", "task_id": "t", "try_number": 1, "map_index": -1}


async def named(service: Harness) -> list[tuple[str, str]]:
    def read(session: Session) -> list[tuple[str, str]]:
        return [(one.action, one.actor) for one in reversed(audit.newest(session, limit=50))]

    found: list[tuple[str, str]] = await service.context.store.read(read)
    return found


def asked(started: str, try_number: int = 1) -> dict[str, Any]:
    return {"origin": {**ORIGIN, "dag_run_start": started, "try_number": try_number}}


async def test_who_submitted_retried_cleared_paused_and_resumed_is_named(database: Database) -> None:
    async with harness(database, api_token="t") as service:
        service.client.headers["Authorization"] = "Bearer t"
        run = await service.submitted(None, **asked("2026-01-01T00:00:00Z"))
        await service.submitted(None, **asked("2026-01-01T00:00:00Z"))
        failed = await service.ended(await service.submitted("other"), "FAILED")
        answer = await service.client.post(f"/api/v1/runs/{failed['run_id']}:retry")
        assert answer.status_code == 202, answer.text
        again = await service.submitted(None, **asked("2026-01-02T00:00:00Z", 2))
        assert again["run_id"] != run["run_id"]
        for verb in ("pause", "resume"):
            assert (await service.client.post(f"/api/v1/backends/default:{verb}")).status_code == 200
        found = await named(service)
    actors = {actor for _, actor in found}
    assert len(actors) == 1
    assert "" not in actors
    assert [action for action, _ in found] == [
        *("run.submit", "run.submit", "run.retry", "run.clear", "run.cancel", "run.submit"),
        *("backend.pause", "backend.resume"),
    ]


async def test_where_nobody_is_asked_who_they_are_submissions_are_not_audited(database: Database) -> None:
    async with harness(database) as service:
        failed = await service.ended(await service.submitted("first"), "FAILED")
        for _ in range(2):
            await service.client.post(f"/api/v1/runs/{failed['run_id']}:retry")
        assert await named(service) == [("run.retry", "")]


async def test_who_registered_a_version_is_named_with_what_was_the_newest_before(database: Database) -> None:
    def read(session: Session) -> list[audit.AuditRecord]:
        return audit.newest(session, limit=10, project="default")

    other = SPEC.replace("epochs", "rounds")
    async with harness(database, api_token="t") as service:
        service.client.headers["Authorization"] = "Bearer t"
        digests = []
        for body in (
            {"spec": SPEC},
            {"spec": SPEC},
            {"spec": SPEC, "version": "1"},
            {"spec": other, "version": "2"},
        ):
            answer = await service.client.post("/api/v1/pipelines", json=body)
            assert answer.is_success, answer.text
            digests.append(answer.json()["digest"])
        found = list(reversed(await service.context.store.read(read)))
    first, second = digests[0], digests[-1]
    assert first != second
    assert {(one.action, one.actor) for one in found} == {("pipeline.register", "api_token")}
    assert [(one.data["version"], one.before, one.after) for one in found] == [
        (None, {"newest": None}, {"newest": first}),
        ("1", {"newest": first}, {"newest": first}),
        ("2", {"newest": first}, {"newest": second}),
    ]


async def test_a_burst_has_its_entries_without_a_pause_and_the_head_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [audit.entry("test.done") for _ in range(2 * audit_chain.BATCH + 1)]
    database.transact(lambda s: audit.record_all(s, rows))
    caplog.set_level(logging.INFO)
    async with harness(database, change_poll_seconds=10.0) as service:
        numbering = asyncio.create_task(service.sequencer.run())
        async with asyncio.timeout(8):
            while await service.context.store.read(audit_chain.is_owed):
                assert not numbering.done()
                await asyncio.sleep(0.01)
        numbering.cancel()
        with suppress(asyncio.CancelledError):
            await numbering
    verdict = database.read(audit_chain.verify)
    assert (verdict.head.number, verdict.findings) == (len(rows), [])
    told = [vars(one)["head"] for one in caplog.records if "head" in vars(one)]
    assert len(told) == 1
    number, _, digest = told[0].partition(":")
    assert (
        database.read(lambda s: audit_chain.verify(s, audit_chain.Head(int(number), digest))).findings == []
    )
