"""A bounded number of jobs at a time, each in a task of its own, that ends with the worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from bridge.lineage.errors import DatabaseUnavailable, FencedOut
from bridge.service.wakeups import Bell

log = logging.getLogger(__name__)


class Pool:
    """Runs jobs beside each other, at most ``size`` of them; a bell is rung when one is done.

    A job that raises is logged and forgotten: the claim it worked on falls due again by itself.
    """

    def __init__(self, size: int, bell: Bell) -> None:
        self._size = size
        self._bell = bell
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def size(self) -> int:
        """How many jobs there can be at a time."""
        return self._size

    @property
    def free(self) -> int:
        """How many more jobs can be taken on now."""
        return self._size - len(self._tasks)

    def start(self, job: Coroutine[Any, Any, None], **facts: object) -> None:
        """Begin a job; ``facts`` go into the log line if it fails."""
        task = asyncio.create_task(_guarded(job, facts))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def drain(self) -> None:
        """Wait until all jobs are done."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self, patience_seconds: float) -> None:
        """Let the jobs under way come to their end, and cancel those that don't in time."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=patience_seconds)
        for task in self._tasks:
            task.cancel()
        await self.drain()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._bell.ring()


async def _guarded(job: Coroutine[Any, Any, None], facts: dict[str, object]) -> None:
    try:
        await job
    except FencedOut:
        log.warning("claim lost to another worker", extra=facts)
    except DatabaseUnavailable as error:
        what = {**facts, "error": str(error)}
        log.warning("database away during a job; its claim falls due again", extra=what)
    except Exception:
        log.exception("job failed; its claim falls due again", extra=facts)
