"""Starts the workers, starts crashed ones again, and stops all of them in time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bridge.lineage.errors import DatabaseFull, DatabaseUnavailable

log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
# All workers meet a database that is away: one of them says so, and again only after so long.
_DATABASE_TOLD_EVERY_SECONDS = 60.0
# A worker that ran this long before it crashed starts over with the first backoff.
_HEALTHY_AFTER_SECONDS = 60.0


@dataclass(slots=True)
class WorkerHealth:
    """What the status page tells of one worker."""

    running: bool = False
    crashes: int = 0
    last_error: str | None = None


class Supervisor:
    """Runs coroutine functions for as long as the process lives, each in a task of its own.

    A worker that raises is started again after a growing pause; one that returns is finished. A database
    that is away is not counted as a crash, and is told in one line for all workers.
    """

    def __init__(self, workers: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        self._workers = dict(workers)
        self._tasks: list[asyncio.Task[None]] = []
        self._database_told_at: float | None = None
        self.health: dict[str, WorkerHealth] = {name: WorkerHealth() for name in workers}

    def start(self) -> None:
        """Start every worker; needs a running loop."""
        for name, work in self._workers.items():
            self._tasks.append(asyncio.create_task(self._supervise(name, work), name=f"worker-{name}"))

    async def stop(self, timeout_seconds: float) -> None:
        """Cancel all workers and wait until they are gone, for at most so long."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_seconds)
            for task in late:
                log.warning("worker did not stop in time", extra={"worker": task.get_name()})
        self._tasks.clear()

    def _tell_of_database(self, name: str, error: DatabaseUnavailable) -> None:
        now = asyncio.get_running_loop().time()
        told = self._database_told_at
        if told is None or now - told >= _DATABASE_TOLD_EVERY_SECONDS:
            self._database_told_at = now
            tell = log.error if isinstance(error, DatabaseFull) else log.warning
            tell("workers wait for the database", extra={"error": str(error)})
        else:
            log.debug("worker waits for the database", extra={"worker": name})

    async def _supervise(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        health = self.health[name]
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            began = loop.time()
            health.running = True
            try:
                await work()
                return
            except asyncio.CancelledError:
                raise
            except DatabaseUnavailable as error:
                health.last_error = f"{type(error).__name__}: {error}"
                self._tell_of_database(name, error)
            except Exception as error:
                health.crashes += 1
                health.last_error = f"{type(error).__name__}: {error}"
                facts = {"worker": name, "crashes": health.crashes, "error": health.last_error}
                log.exception("worker crashed", extra=facts)
            finally:
                health.running = False
            if loop.time() - began > _HEALTHY_AFTER_SECONDS:
                backoff = _FIRST_BACKOFF_SECONDS
            # Jitter keeps workers that crashed of one cause from coming back as one.
            await asyncio.sleep(backoff * random.uniform(0.8, 1.2))  # noqa: S311
            backoff = min(backoff * 2, _LONGEST_BACKOFF_SECONDS)
