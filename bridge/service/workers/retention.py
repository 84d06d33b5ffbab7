"""Removes what is old enough, now and then, in small batches with pauses between them."""

from __future__ import annotations

import asyncio
import logging

import anyio.to_thread

from bridge.service.context import Context
from bridge.service.retaining import Removed, RetentionBusy, RetentionPass, readers_of

log = logging.getLogger(__name__)


class RetentionWorker:
    """Of all processes of a database one at a time does it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings.retention

    async def run(self) -> None:
        """One pass after the other until cancelled."""
        while True:
            removed = await self.step()
            if removed is not None and any(removed.counts().values()):
                log.info("removed what is old", extra=removed.to_json())
            await asyncio.sleep(self._settings.every_hours * 3600.0)

    async def step(self) -> Removed | None:
        """One pass; what it removed, ``None`` if another process is at it."""
        one = RetentionPass(
            self._context.store.database,
            self._settings,
            holder=self._context.holder,
            readers=readers_of(self._context.settings),
        )
        batches = one.batches()
        try:
            while True:
                if await anyio.to_thread.run_sync(next, batches, _DONE):
                    break
                await asyncio.sleep(self._settings.pause_seconds)
        except RetentionBusy as busy:
            log.debug("nothing removed", extra={"reason": str(busy)})
            return None
        finally:
            await anyio.to_thread.run_sync(batches.close)
        return one.removed


# What ``next`` gives at the end; batches give ``None``.
_DONE = True
