"""Counts what runs used, as they settle."""

from __future__ import annotations

from bridge.lineage import usage
from bridge.service.context import Context
from bridge.service.costing import Meter, prices_of

_BATCH = 200


class UsageCounter:
    """Follows the outbox from where any process left off; the database has one process count at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._meter = Meter()
        self._prices_stored = False

    async def run(self) -> None:
        """Write the prices down, once in a process, then count until cancelled."""
        if not self._prices_stored:
            await self._store_prices()
        with self._context.wakeups.listening() as bell:
            while True:
                if await self.step() < _BATCH:
                    await bell.wait(self._context.settings.worker_poll_seconds)

    async def _store_prices(self) -> None:
        prices, currency = prices_of(self._context.settings), self._context.settings.currency
        await self._context.background.transact(
            lambda s: usage.store_prices(s, prices, currency), repeatable=True
        )
        # When this begins anew after trouble, they may have been changed: `kfbridge apply`.
        self._prices_stored = True

    async def step(self) -> int:
        """Count one batch of events; how many those were."""
        return await self._context.background.transact(
            lambda s: usage.count_news(s, self._meter.hours, _BATCH)
        )
