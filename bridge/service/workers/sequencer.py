"""Numbers the outbox, so that readers see every event once and in one order."""

from __future__ import annotations

from bridge.lineage import outbox
from bridge.service.context import Context

_BATCH = 1000


class Sequencer:
    """Numbers committed events as soon as this process made some, and polls for those of others."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Number until cancelled."""
        bell = self._context.wakeups.sequencer
        while True:
            if await self.step() < _BATCH:
                await bell.wait(self._context.settings.change_poll_seconds)

    async def step(self) -> int:
        """Number one batch; how many events that were."""
        count = await self._context.store.transact(lambda s: outbox.number_events(s, _BATCH))
        if count:
            self._context.wakeups.numbered()
        return count
