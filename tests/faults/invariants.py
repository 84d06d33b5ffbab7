"""What has to hold after every scenario, whatever went wrong in it."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import httpx
from sqlalchemy import select
from sqlmodel import Session

from bridge.domain.lineage import Artifact, Metric, Run, RunMirror, Task
from bridge.domain.states import MirrorState, RunPhase
from bridge.kfp_api.choosing import ChoosingReader
from bridge.kfp_api.client import KfpClient
from bridge.lineage.columns import database_time
from bridge.lineage.convert import run_from_row
from bridge.lineage.database import Database
from bridge.lineage.mirror import artifacts_of, metrics_of, tasks_of
from bridge.lineage.runs import history_of
from bridge.lineage.tables import DUTIES, OUTBOX, RUNS, SUBMISSIONS
from tests.faults.stage import LIVE_STATES, eventually


class Played(Protocol):
    """Where something was played: the bridge's database and the backend behind all that went wrong."""

    @property
    def database_url(self) -> str: ...

    def backend_runs(self) -> list[dict[str, Any]]: ...

    def posted_runs(self) -> Mapping[str, int]: ...

    def backend_client(self) -> KfpClient: ...


class Speaking(Protocol):
    """A service that runs."""

    @property
    def client(self) -> httpx.Client: ...


def check_invariants(stage: Played, service: Speaking) -> None:
    """Wait until nothing goes on any more, and check all of them; ``service`` has to be running.

    One live run per key at the backend, and no id asked for twice; no terminal state lost; the mirror equals
    what the backend holds; the outbox has no gap, and readers get all of it.
    """
    database = Database(stage.database_url)
    try:
        _wait_for_rest(database)
        stored = database.read(_runs)
        rows = {UUID(row["run_id"]): row for row in stage.backend_runs()}
        _check_keys(stage, database, stored, rows)
        for run in stored:
            row = rows.get(run.kfp_run_id)
            if row is not None:
                _check_end(database, run, row)
        _check_mirrors(stage, database, [run for run in stored if run.kfp_run_id in rows])
        _check_outbox(database, service, stored)
    finally:
        database.close()


def _runs(session: Session) -> list[Run]:
    return [run_from_row(row) for row in session.execute(select(RUNS).order_by(RUNS.c.id)).mappings()]


def _unrest(database: Database) -> list[str]:
    """What still goes on, in words; empty when the bridge is at rest."""

    def read(session: Session) -> list[str]:
        found = [
            f"run {run.run_id} is {run.phase}, settled at {run.settled_at}, its mirror {run.mirror}"
            for run in _runs(session)
            if not run.phase.is_over
            or (run.phase is RunPhase.ENDED and (run.settled_at is None or run.mirror is MirrorState.PARTIAL))
        ]
        held = session.execute(select(DUTIES).where(DUTIES.c.lease_until > database_time())).mappings()
        found += [f"{row['duty']} of run {row['run']} is held by {row['holder']}" for row in held]
        waiting = session.execute(select(OUTBOX.c.id).where(OUTBOX.c.number.is_(None))).all()
        return found + ([f"{len(waiting)} events without a number"] if waiting else [])

    return database.read(read)


def _wait_for_rest(database: Database) -> None:
    unrest: list[str] = []

    def is_quiet() -> bool:
        unrest[:] = _unrest(database)
        return not unrest

    try:
        eventually(is_quiet, "the bridge came to rest")
    except AssertionError as error:
        raise AssertionError(f"{error}: {unrest}") from None


def _check_keys(
    stage: Played, database: Database, stored: Sequence[Run], rows: Mapping[UUID, Mapping[str, Any]]
) -> None:
    posted = stage.posted_runs()
    assert all(count <= 1 for count in posted.values()), f"an id was asked for twice: {posted}"
    known = {run.kfp_run_id: run for run in stored}
    assert set(rows) <= set(known), f"unknown to the bridge: {set(rows) - set(known)}"
    by_key: defaultdict[UUID, list[Run]] = defaultdict(list)
    for run in stored:
        if run.submission_key is not None:
            by_key[run.submission_key].append(run)
    current = database.read(
        lambda s: {
            row.key: row.current_run
            for row in s.execute(select(SUBMISSIONS.c.key, SUBMISSIONS.c.current_run))
        }
    )
    adopting = set(current) - set(by_key)
    assert set(by_key) <= set(current)
    assert {current[key] for key in adopting} <= {run.run_id for run in stored}
    for key, attempts in by_key.items():
        attempts.sort(key=lambda run: run.attempt)
        assert [run.attempt for run in attempts] == list(range(1, len(attempts) + 1))
        assert current[key] == attempts[-1].run_id
        states = [str(rows[run.kfp_run_id].get("state", "")) for run in attempts if run.kfp_run_id in rows]
        assert sum(state in LIVE_STATES for state in states) == 0, f"still alive at the backend: {states}"
        assert states.count("SUCCEEDED") <= 1, f"one key, done twice: {states}"


def _check_end(database: Database, run: Run, row: Mapping[str, Any]) -> None:
    history = database.read(lambda s: history_of(s, run.run_id))
    versions = [entry.version for entry in history]
    assert versions == sorted(set(versions)), f"history out of order: {versions}"
    assert (history[-1].phase, history[-1].state) == (run.phase, run.state)
    if run.phase is RunPhase.ABANDONED:
        return
    assert run.phase is RunPhase.ENDED, f"the backend says {row['state']}, the bridge {run.phase}"
    assert run.state.value == row["state"]
    assert run.finished_at == datetime.fromisoformat(row["finished_at"].replace("Z", "+00:00"))


def _check_mirrors(stage: Played, database: Database, stored: Sequence[Run]) -> None:
    complete = [run for run in stored if run.phase is RunPhase.ENDED]
    assert [run.mirror for run in complete] == [MirrorState.COMPLETE] * len(complete)
    readings = asyncio.run(_read(stage, complete))
    for run, reading in zip(complete, readings, strict=True):

        def read(session: Session, run: Run = run) -> tuple[Any, Any, Any]:
            return (
                _shown_tasks(tasks_of(session, run.run_id)),
                _shown_artifacts(artifacts_of(session, run.run_id)),
                _shown_metrics(metrics_of(session, run.run_id)),
            )

        tasks, artifacts, metrics = database.read(read)
        if reading is None:
            assert (tasks, artifacts, metrics) == ([], [], [])
            continue
        assert tasks == _shown_tasks(reading.tasks)
        assert artifacts == _shown_artifacts(reading.artifacts)
        assert metrics == _shown_metrics(reading.metrics)


async def _read(stage: Played, stored: Sequence[Run]) -> list[RunMirror | None]:
    async with stage.backend_client() as client:
        reader = ChoosingReader(client)
        told = [await client.get_run(run.kfp_run_id) for run in stored]
        return [
            await reader.read_run(run.kfp_run_id, one.task_details)
            for run, one in zip(stored, told, strict=True)
        ]


def _shown_tasks(tasks: Sequence[Task]) -> list[tuple[Any, ...]]:
    return sorted(
        (
            task.task_id,
            task.path,
            task.state.value,
            task.cached,
            json.dumps(dict(task.outputs), sort_keys=True),
        )
        for task in tasks
    )


def _shown_artifacts(artifacts: Sequence[Artifact]) -> list[tuple[Any, ...]]:
    return sorted(
        (
            one.backend_artifact_id,
            one.type,
            one.uri,
            sorted((use.task_id, use.key, use.direction) for use in one.uses),
        )
        for one in artifacts
    )


def _shown_metrics(metrics: Sequence[Metric]) -> list[tuple[Any, ...]]:
    return sorted((metric.key, metric.step, metric.value) for metric in metrics)


def _check_outbox(database: Database, service: Speaking, stored: Sequence[Run]) -> None:
    events = database.read(
        lambda s: s.execute(
            select(OUTBOX.c.number, OUTBOX.c.type, OUTBOX.c.run_id).order_by(OUTBOX.c.number)
        ).all()
    )
    numbers = [event.number for event in events]
    assert numbers == list(range(1, len(numbers) + 1)), f"a gap: {numbers}"
    told = defaultdict(set)
    for event in events:
        told[event.run_id].add(event.type)
    wanted = {RunPhase.ENDED: "run.ended", RunPhase.LOST: "run.lost", RunPhase.REJECTED: "run.rejected"}
    for run in stored:
        if run.phase in wanted:
            assert wanted[run.phase] in told[run.run_id], f"nobody was told of {run.phase} of {run.run_id}"
    if numbers:
        assert _streamed(service, len(numbers)) == numbers


def _streamed(service: Speaking, count: int) -> list[int]:
    found: list[int] = []
    with service.client.stream("GET", "/api/v1/events", params={"after": 0}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                found.append(int(json.loads(line.removeprefix("data:"))["number"]))
                if len(found) == count:
                    break
    return found
