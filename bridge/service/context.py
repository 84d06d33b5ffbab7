"""What every route and worker of one service process is given."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import anyio.to_thread

from bridge.domain.lineage import Run
from bridge.domain.states import RunPhase
from bridge.kfp_api.errors import KfpError
from bridge.lineage.backends import all_backend_states
from bridge.lineage.database import Database
from bridge.lineage.records import BackendState
from bridge.service.access.authentication import Authenticator, make_authenticator
from bridge.service.airflow import Airflow
from bridge.service.backends import Backend, BackendFactory, open_backend
from bridge.service.convert import Presenter
from bridge.service.grouping import Grouped
from bridge.service.settings import ServiceSettings
from bridge.service.store import WORKER_THREADS, Store
from bridge.service.stores import Stores
from bridge.service.tracing import Tracing, open_tracing
from bridge.service.waiters import Waiters
from bridge.service.wakeups import Wakeups
from bridge.service.workers.supervisor import Supervisor

log = logging.getLogger(__name__)

_MOST_TOGETHER = 256


@dataclass(slots=True)
class Context:
    """One service process: settings, database, backends, bells. Made at start, passed to everything."""

    settings: ServiceSettings
    store: Store
    background: Store
    """The same database with threads of its own: a burst of requests must not keep the workers waiting."""
    wakeups: Wakeups
    backends: Mapping[str, Backend]
    presenter: Presenter
    waiters: Waiters
    stores: Stores
    holder: str
    holds_database: bool = False
    tracing: Tracing = field(default_factory=Tracing)
    airflow: Airflow | None = None
    supervisor: Supervisor | None = None
    stopping: bool = field(default=False)
    followed_logs: int = field(default=0)
    authenticator: Authenticator = field(init=False)
    _states: Grouped[None, list[BackendState]] = field(init=False)

    def __post_init__(self) -> None:
        self.authenticator = make_authenticator(self.settings, self.store)
        self._states = Grouped(self._read_states, most=_MOST_TOGETHER)

    async def backend_states(self) -> list[BackendState]:
        """What is remembered of all backends; requests that ask at the same time share one look."""
        return await self._states(None)

    async def _read_states(self, asked: Sequence[None]) -> list[list[BackendState]]:
        return [await self.store.read(all_backend_states)] * len(asked)

    def default_backend(self) -> Backend | None:
        """The backend of submissions that name none."""
        return next(iter(self.backends.values()), None)

    def stop_waiting(self) -> None:
        """Let event streams and long-polls end, so that their connections can be closed."""
        self.stopping = True
        self.wakeups.numbered()
        self.wakeups.runs.stop()

    def ring_after(self, changed: Iterable[Run]) -> None:
        """Wake the workers that a change of these runs may concern."""
        for run in changed:
            if run.phase is RunPhase.QUEUED:
                self.wakeups.submit(run.backend).ring()
            elif run.phase is RunPhase.ENDED or run.phase is RunPhase.ACTIVE:
                self.wakeups.mirror(run.backend).ring()
            if run.phase.is_over:
                # Its place is free.
                self.wakeups.submit(run.backend).ring()
            if run.cancel_requested_at is not None and not run.phase.is_over:
                self.wakeups.cancel(run.backend).ring()
                self.wakeups.submit(run.backend).ring()

    def note_answer(self, backend: Backend) -> None:
        """The backend answered: it is not stale."""
        if backend.stale_since is not None:
            log.info("backend answers again", extra={"backend": backend.name})
        backend.stale_since = None
        backend.last_error = None

    def note_error(self, backend: Backend, error: KfpError) -> None:
        """The backend did not answer as it should: show it as stale, since the first time."""
        if backend.note_error(error, datetime.now(UTC)):
            facts = {"backend": backend.name, "error": backend.last_error}
            log.warning("backend in trouble; its runs wait", extra=facts)


@asynccontextmanager
async def open_context(
    settings: ServiceSettings,
    database: Database,
    backend_factory: BackendFactory = open_backend,
    *,
    holder: str | None = None,
) -> AsyncIterator[Context]:
    """A context whose clients are closed at the end; the database stays the caller's.

    ``holder`` is the name under which the caller holds the database, if it does.
    """
    wakeups = Wakeups()
    async with AsyncExitStack() as stack:
        backends: dict[str, Backend] = {}
        for item in settings.backends:
            backend = backend_factory(item)
            await stack.enter_async_context(backend.client)
            backends[item.name] = backend
        store = Store(database, wakeups)
        tracing = open_tracing(settings.telemetry)
        stack.push_async_callback(anyio.to_thread.run_sync, tracing.close)
        airflow = None
        if settings.airflow is not None and settings.airflow_api_url is not None:
            airflow = await stack.enter_async_context(Airflow(settings.airflow, settings.airflow_api_url))
        yield Context(
            settings=settings,
            store=store,
            background=Store(database, wakeups, threads=WORKER_THREADS),
            waiters=Waiters(store, settings.orphan_after_seconds),
            stores=Stores(settings),
            wakeups=wakeups,
            backends=backends,
            presenter=Presenter(settings, airflow),
            airflow=airflow,
            holds_database=holder is not None,
            tracing=tracing,
            holder=holder or f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}",
        )
