"""Numbers the outbox, so that readers see every event once and in one order, and chains the audit log."""

from __future__ import annotations

import logging
import time

from bridge.lineage import audit_chain, outbox
from bridge.service.context import Context

log = logging.getLogger(__name__)

_BATCH = 1000
# How long a row of the audit log stays without its entry; whoever writes one waits for nothing.
_CHAIN_EVERY_SECONDS = 1.0
# Whoever keeps the log elsewhere has a head to hold the chain against.
_TELL_EVERY_SECONDS = 3600.0


class Sequencer:
    """Numbers committed events as soon as this process made some, and polls for those of others."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._chain_at = 0.0
        self._tell_at = 0.0

    async def run(self) -> None:
        """Number until cancelled."""
        bell = self._context.wakeups.sequencer
        while True:
            behind = False
            if time.monotonic() >= self._chain_at:
                behind = await self.chain() >= audit_chain.BATCH
                self._chain_at = time.monotonic() + (0.0 if behind else _CHAIN_EVERY_SECONDS)
            if await self.step() < _BATCH and not behind:
                await bell.wait(self._context.settings.change_poll_seconds)

    async def step(self) -> int:
        """Number one batch; how many events that were."""
        count = await self._context.store.transact(lambda s: outbox.number_events(s, _BATCH))
        if count:
            self._context.wakeups.numbered()
        return count

    async def chain(self) -> int:
        """Give a batch of rows of the audit log their entries; how many."""
        store = self._context.store
        if not await store.read(audit_chain.is_owed):
            return 0
        count = await store.transact(audit_chain.extend)
        if count and time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + _TELL_EVERY_SECONDS
            log.info(
                "the audit log has this head", extra={"head": str(await store.read(audit_chain.head_of))}
            )
        return count
