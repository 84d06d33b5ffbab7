"""Submits, kills and counts."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.progress import Progress
from sqlalchemy import func, select

from bridge.client.api import AsyncBridgeClient
from bridge.client.models import SubmitRequest
from bridge.kfp_api.client import KfpClient
from bridge.lineage.database import Database
from bridge.lineage.errors import SchemaMismatch
from bridge.lineage.tables import RUNS, SUBMISSIONS
from tests.bench.kills.plan import Plan, Result
from tests.bench.kills.processes import Backend, Replica, timed_backend
from tests.bench.pipelines import step_pipeline
from tests.faults.invariants import check_invariants
from tests.support.postgres import running_postgres

# Minutes in production. The grace is still ten times what a POST over loopback takes on a busy machine.
_SETTINGS = {
    "KFBRIDGE_LEASE_SECONDS": "2",
    "KFBRIDGE_DATABASE_PATIENCE_SECONDS": "2",
    "KFBRIDGE_WORKER_POLL_SECONDS": "0.3",
    "KFBRIDGE_CHANGE_POLL_SECONDS": "0.2",
    "KFBRIDGE_KFP_TIMEOUT_SECONDS": "4",
    "KFBRIDGE_KFP_TICK_SECONDS": "0.2",
    "KFBRIDGE_KFP_ORPHAN_GRACE_SECONDS": "5",
    "KFBRIDGE_KFP_AGENT_BACKOFF_SECONDS": "5",
    "KFBRIDGE_LOG_LEVEL": "INFO",
}
_PATIENCE_SECONDS = 600.0
# The share of the processes whose time runs from their start, and not from when they serve.
_KILLED_FROM_THE_START = 0.2
_SUBMITTING_AT_ONCE = 48
_TOLD_EVERY_SECONDS = 30.0
# How many submissions the kills may be ahead.
_LEAD = 24
# One in so many submissions is sent twice, to whichever service is there, and has to get the same run.
_REPEATED = 5


@dataclass
class _Scene:
    """What the invariants are checked on."""

    database_url: str
    backend: Backend
    client: httpx.Client

    def backend_runs(self) -> list[dict[str, Any]]:
        return self.backend.runs()

    def posted_runs(self) -> Mapping[str, int]:
        posted: dict[str, int] = self.backend.facts()["posted"]
        return posted

    def backend_client(self) -> KfpClient:
        return KfpClient(self.backend.url)


class Kills:
    """One such run."""

    def __init__(self, plan: Plan, folder: Path, database_url: str, backend: Backend) -> None:
        self.plan = plan
        self.result = Result(database="PostgreSQL" if plan.postgresql else "SQLite")
        self._backend = backend
        self._database_url = database_url
        self._chance = random.Random(plan.seed)
        self._accepted: dict[str, str] = {}
        self._clients: list[AsyncBridgeClient] = []
        env = _SETTINGS | {
            "KFBRIDGE_KFP_URL": backend.url,
            "KFBRIDGE_DATABASE_URL": database_url,
            "KFBRIDGE_MIGRATE": "1",
        }
        count = plan.replicas if plan.postgresql else 1
        self.replicas = [Replica(number, folder, env, plan.cold) for number in range(count)]

    async def run(self, progress: Progress | None = None) -> Result:
        """Submit and kill, let everything end, count. What went wrong is in the result's ``failures``."""
        began = time.monotonic()
        bars = _Bars(progress, self.plan)
        database = Database(self._database_url)
        try:
            for replica in self.replicas:
                replica.start()
            showing = asyncio.create_task(self._show(bars, database))
            try:
                async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
                    for replica in self.replicas:
                        client = AsyncBridgeClient(replica.url, patience_seconds=_PATIENCE_SECONDS)
                        self._clients.append(await stack.enter_async_context(client))
                    for replica in self.replicas:
                        group.create_task(self._kill(replica))
                    group.create_task(self._submit_all())
                await self._until_at_rest(database)
            except (Exception, ExceptionGroup) as error:
                self.result.failures.append(_in_short(error))
            finally:
                showing.cancel()
                await asyncio.wait([showing])
            self.result.seconds = round(time.monotonic() - began, 1)
            await asyncio.to_thread(self._count, database)
            bars.show(self.result)
        finally:
            self.stop()
            database.close()
        return self.result

    def stop(self) -> None:
        """Leave no process behind."""
        for replica in self.replicas:
            if replica.process is not None:
                replica.kill()

    async def _kill(self, replica: Replica) -> None:
        """Kill and start one replica until there were enough kills, and leave it running."""
        while self.result.kills < self.plan.kills:
            self.result.kills += 1
            while self.result.kills > self._most_kills():
                await asyncio.sleep(0.05)
            if self._chance.random() >= _KILLED_FROM_THE_START:
                await _until(replica.serves, "a service to answer")
            await asyncio.sleep(self._chance.uniform(0.0, 2 * self.plan.life_seconds))
            served = replica.serves()
            await asyncio.to_thread(replica.kill)
            self.result.killed_while_starting += not served
            await asyncio.to_thread(replica.start)

    def _most_kills(self) -> int:
        """How many kills there may be by now: on a slow machine they must not outrun the submissions."""
        return max(1, (self.result.submissions + _LEAD) * self.plan.kills // self.plan.submissions)

    async def _submit_all(self) -> None:
        room = asyncio.Semaphore(_SUBMITTING_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for number in range(self.plan.submissions):
                # Spread over the kills, so that each of them finds work of every kind under way.
                while self.result.kills < self.plan.kills * number // self.plan.submissions:
                    await asyncio.sleep(0.05)
                await room.acquire()
                group.create_task(self._submit(number)).add_done_callback(lambda _: room.release())

    async def _submit(self, number: int) -> None:
        key = f"submission-{number}"
        request = SubmitRequest(spec=step_pipeline(), arguments={"seconds": str(number)})
        for repetition in range(2 if number % _REPEATED == 0 else 1):
            replica = self.replicas[(number + repetition) % len(self.replicas)]
            run = await self._clients[replica.number].submit(request, key)
            known = self._accepted.setdefault(key, str(run.submission_key))
            if known != str(run.submission_key):
                raise AssertionError(f"{key} was accepted as {known}, and then as {run.submission_key}")
        self.result.submissions += 1

    async def _show(self, bars: _Bars, database: Database) -> None:
        while True:
            self.result.ends_mirrored = await asyncio.to_thread(_ends_mirrored, database)
            bars.show(self.result)
            await asyncio.sleep(1.0)

    async def _until_at_rest(self, database: Database) -> None:
        await _until(
            lambda: _ends_mirrored(database) >= self.plan.submissions,
            "all runs to have ended and be mirrored",
        )
        for replica in self.replicas:
            await _until(replica.serves, "a service to answer")

    def _count(self, database: Database) -> None:
        result, plan = self.result, self.plan
        facts = self._backend.facts()
        result.posts = facts["workflows"]
        result.runs_at_backend = len(self._backend.runs())
        result.doubled = result.posts - len(facts["posted"])
        result.ends_mirrored = _ends_mirrored(database)
        result.attempts = dict(sorted(database.read(_attempts).items()))
        with httpx.Client(base_url=self.replicas[0].url, timeout=60, trust_env=False) as client:
            scene = _Scene(self._database_url, self._backend, client)
            try:
                check_invariants(scene, scene)
            except Exception as error:
                result.failures.append(f"an invariant does not hold: {error}")
        stored = database.read(
            lambda s: s.execute(select(func.count()).select_from(SUBMISSIONS)).scalar_one()
        )
        wanted = plan.submissions
        for what, count in (
            ("submissions stored", stored),
            ("runs at the backend", result.runs_at_backend),
            ("POSTs", result.posts),
            ("ends mirrored", result.ends_mirrored),
        ):
            if count != wanted:
                result.failures.append(f"{what}: {count} instead of {wanted}")


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {_PATIENCE_SECONDS:g} s for {what}")
        await asyncio.sleep(0.1)


def _ends_mirrored(database: Database) -> int:
    done = RUNS.c.settled_at.is_not(None) & (RUNS.c.mirror == "COMPLETE") & (RUNS.c.state == "SUCCEEDED")
    try:
        return database.read(lambda s: s.execute(select(func.count()).where(done)).scalar_one())
    except SchemaMismatch:
        # No service has come so far as to migrate it.
        return 0


def _attempts(session: Any) -> Counter[int]:
    rows = session.execute(
        select(func.max(RUNS.c.attempt))
        .where(RUNS.c.submission_key.is_not(None))
        .group_by(RUNS.c.submission_key)
    )
    return Counter(rows.scalars())


def _in_short(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_in_short(one) for one in error.exceptions)
    return f"{type(error).__name__}: {error}"


class _Bars:
    """The progress, if anybody wants to see it: bars on a terminal, a line now and then elsewhere."""

    def __init__(self, progress: Progress | None, plan: Plan) -> None:
        self._progress = progress
        self._told_at = 0.0
        totals = {"submissions": plan.submissions, "kills": plan.kills, "ends_mirrored": plan.submissions}
        self._tasks = (
            {name: progress.add_task(name.replace("_", " "), total=total) for name, total in totals.items()}
            if progress
            else {}
        )

    def show(self, result: Result) -> None:
        """Bring the bars up to date."""
        for name, task in self._tasks.items():
            assert self._progress is not None
            self._progress.update(task, completed=getattr(result, name))
        if self._progress and not self._progress.console.is_terminal:
            self._tell(result)

    def _tell(self, result: Result) -> None:
        if time.monotonic() - self._told_at >= _TOLD_EVERY_SECONDS:
            self._told_at = time.monotonic()
            counts = (f"{getattr(result, name)} {name.replace('_', ' ')}" for name in self._tasks)
            print(", ".join(counts), file=sys.stderr, flush=True)


def kill(
    plan: Plan, folder: Path, *, database_url: str | None = None, progress: Progress | None = None
) -> Result:
    """Carry a plan out in an empty folder; ``database_url`` names an empty PostgreSQL database."""
    with ExitStack() as stack:
        if database_url is None and plan.postgresql:
            server = stack.enter_context(running_postgres(durable=True))
            database_url = server.url(server.create_database())
        url = database_url or f"sqlite:///{folder / 'bridge.db'}"
        backend = stack.enter_context(timed_backend(folder))
        played = Kills(plan, folder, url, backend)
        # Once more after the loop: one of its threads may have been about to start a process.
        stack.callback(played.stop)
        return asyncio.run(played.run(progress))
