"""A service without sockets and without running workers: tests step the workers themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI
from sqlmodel import Session

from bridge.domain.lineage import Metric, Run, RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.lineage import runs
from bridge.lineage.database import Database
from bridge.lineage.database import now as database_now
from bridge.lineage.records import RunFilter
from bridge.service.app import create_app
from bridge.service.backend_settings import BackendSettings
from bridge.service.backends import Backend, policy_of
from bridge.service.context import Context
from bridge.service.settings import ServiceSettings
from bridge.service.workers.cancel import CancelWorker
from bridge.service.workers.mirror import MirrorWorker
from bridge.service.workers.sequencer import Sequencer
from bridge.service.workers.submit import SubmitWorker
from bridge.service.workers.track import TrackWorker
from bridge.service.workers.watch import MetadataWatch
from tests.support.fake_kfp import FakeKfp

PIPELINES = Path(__file__).parents[2] / "support" / "pipelines"
SPEC = (PIPELINES / "training.yaml").read_text(encoding="utf-8")
ARGUMENTS = {"epochs": 3}
_MOST_ROUNDS = 20


@dataclass
class Harness:
    """A service, the backend it talks to, and the workers of one backend."""

    app: FastAPI
    client: httpx.AsyncClient
    kfp: FakeKfp
    context: Context
    submit_worker: SubmitWorker = field(init=False)
    track_worker: TrackWorker = field(init=False)
    mirror_worker: MirrorWorker = field(init=False)
    cancel_worker: CancelWorker = field(init=False)
    watch: MetadataWatch = field(init=False)
    sequencer: Sequencer = field(init=False)

    def __post_init__(self) -> None:
        self.restart_workers()

    @property
    def backend(self) -> Backend:
        """The backend's own memory in this process."""
        return self.context.backends["default"]

    def restart_workers(self) -> None:
        """Workers that remember nothing, as after a crash."""
        context, backend = self.context, self.backend
        self.submit_worker = SubmitWorker(context, backend)
        self.track_worker = TrackWorker(context, backend)
        self.mirror_worker = MirrorWorker(context, backend)
        self.cancel_worker = CancelWorker(context, backend)
        self.watch = MetadataWatch(context, backend)
        self.sequencer = Sequencer(context)

    async def submit(self, key: str | None = "k1", **body: Any) -> httpx.Response:
        """``POST /runs`` of the training pipeline, with what ``body`` changes."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        request = {"spec": SPEC, "arguments": ARGUMENTS, **body}
        return await self.client.post("/api/v1/runs", json=request, headers=headers)

    async def submitted(self, key: str | None = "k1", **body: Any) -> dict[str, Any]:
        """An accepted submission that was sent to the backend; the run as the API shows it."""
        answer = await self.submit(key, **body)
        assert answer.status_code == 202, answer.text
        await self.send()
        return await self.run(answer.json()["run_id"])

    async def run(self, run_id: str) -> dict[str, Any]:
        """``GET /runs/{id}``."""
        answer = await self.client.get(f"/api/v1/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def stored(self) -> list[Run]:
        """Every run in the database, newest first."""
        found, _ = await self.context.store.read(lambda s: runs.list_runs(s, RunFilter(), limit=200))
        return found

    async def send(self) -> None:
        """Let the submit worker work off what is due."""
        for _ in range(_MOST_ROUNDS):
            if not await self.submit_worker.step():
                return
            await self.submit_worker.drain()

    async def cancel(self) -> None:
        """Let the cancel worker work off what is due."""
        for _ in range(_MOST_ROUNDS):
            if not await self.cancel_worker.step():
                return
            await self.cancel_worker.drain()

    async def sweep(self) -> None:
        """One fast and one slow sweep."""
        self.track_worker.slow_next()
        await self.track_worker.step()

    async def mirror(self) -> None:
        """Let the mirror worker work off what is due."""
        for _ in range(_MOST_ROUNDS):
            if not await self.mirror_worker.step():
                return
            await self.mirror_worker.drain()

    async def follow(self) -> None:
        """What the running workers would do about news of the backend."""
        await self.sweep()
        await self.cancel()
        await self.send()
        await self.mirror()

    async def make_due(self) -> None:
        """As if every pause were over."""

        def write(session: Session) -> None:
            found, _ = runs.list_runs(session, RunFilter(), limit=200)
            moment = database_now(session)
            for run in found:
                if not run.phase.is_over:
                    runs.change_run(session, run.run_id, due_at=moment)
                if run.settled_at is None and run.phase.value == "ENDED":
                    runs.change_run(session, run.run_id, mirror_due_at=moment)

        await self.context.store.transact(write)

    async def ended(
        self, run: dict[str, Any], state: str = "SUCCEEDED", *, mirror: RunMirror | None = None
    ) -> dict[str, Any]:
        """The run after its end was seen, mirrored and judged."""
        self.kfp.mirrors[UUID(run["kfp_run_id"])] = mirror or mirror_of(state)
        self.kfp.finish(run["kfp_run_id"], state)
        await self.follow()
        return await self.run(run["run_id"])


def mirror_of(state: str = "SUCCEEDED", metrics: dict[str, float] | None = None) -> RunMirror:
    """A root and one task ``train``, with metrics by key (``evaluate.auc``)."""
    told = RuntimeState(state)
    tasks = (
        Task(task_id="1", name="root", path="", parent_task_id=None, state=told, kind="dag"),
        Task(
            task_id="2",
            name="train",
            path="train",
            parent_task_id="1",
            state=told,
            kind="container",
            pod_name="pod-train",
        ),
    )
    found = []
    for key, value in (metrics or {}).items():
        path, _, name = key.rpartition(".")
        found.append(Metric(task_path=path, name=name, value=value))
    return RunMirror(tasks=tasks, metrics=tuple(found))


@asynccontextmanager
async def harness(
    database: Database,
    *,
    kfp: FakeKfp | None = None,
    backend: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Harness]:
    """A service over the database, with one fake backend; ``backend`` holds settings of that."""
    kfp = kfp or FakeKfp()
    # Slow sweeps come when a test asks for one, not by the clock.
    quick = {"url": "http://kfp.example", "tick_seconds": 0.001, "slow_sweep_seconds": 3600}
    configured = ServiceSettings(
        backends=(BackendSettings(**{**quick, **(backend or {})}),),
        workers=False,
        **{"change_poll_seconds": 0.02, "allowed_hosts": ("bridge",), **settings},
    )

    def open_fake(item: BackendSettings) -> Backend:
        return Backend(settings=item, client=kfp.client(), reader=kfp.reader(), policy=policy_of(item))

    app = create_app(configured, database, backend_factory=open_fake)
    async with app.router.lifespan_context(app):
        # An error of the application must come as the answer that a caller would get.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
            yield Harness(app, client, kfp, app.state.context)
