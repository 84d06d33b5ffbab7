"""The lineage database as coroutines: its calls block, so each runs in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.lineage.database import Database
from bridge.service.wakeups import Wakeups

T = TypeVar("T")
ChangedT = TypeVar("ChangedT", bound=Run | Sequence[Run])

# A process's requests, and its workers beside them: neither waits behind the other's queue of calls.
REQUEST_THREADS = 8
WORKER_THREADS = 6


class Store:
    """Runs units of work against the database in threads; errors pass through.

    A cancelled caller waits until the thread is done: a transaction is never left behind half known.
    """

    def __init__(self, database: Database, wakeups: Wakeups, *, threads: int = REQUEST_THREADS) -> None:
        self._database = database
        self._wakeups = wakeups
        self._limiter = CapacityLimiter(threads)

    @property
    def database(self) -> Database:
        """The database itself, for what runs before and after the loop."""
        return self._database

    async def read(self, work: Callable[[Session], T]) -> T:
        """As ``Database.read``."""
        return await anyio.to_thread.run_sync(self._database.read, work, limiter=self._limiter)

    async def transact(self, work: Callable[[Session], T], *, repeatable: bool = False) -> T:
        """As ``Database.transact``."""

        def unit() -> T:
            return self._database.transact(work, repeatable=repeatable)

        return await anyio.to_thread.run_sync(unit, limiter=self._limiter)

    async def change(self, work: Callable[[Session], ChangedT], *, repeatable: bool = False) -> ChangedT:
        """As ``transact``, for work that gives the runs it changed: whoever waits for them is told."""
        changed = await self.transact(work, repeatable=repeatable)
        self.announce(changed)
        return changed

    def announce(self, changed: Run | Sequence[Run]) -> None:
        """Tell whoever waits inside this process that these runs changed."""
        runs = [changed] if isinstance(changed, Run) else changed
        self._wakeups.changed((run.run_id, run.version) for run in runs)
