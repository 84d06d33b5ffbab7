"""Who waits for runs, as far as the setting ``orphan_after_seconds`` wants it known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from uuid import UUID

from bridge.domain.lineage import Run
from bridge.lineage import waiters
from bridge.service.store import Store

# A waiter is written down again after this part of the time that it may be silent, not at each question.
_AGAIN_AFTER = 0.1
_MOST_REMEMBERED = 10_000


class Waiters:
    """Keeps down until when each run's waiter has to be heard of again. Off (``None``): does nothing."""

    def __init__(
        self, store: Store, after_seconds: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._after_seconds = after_seconds
        self._clock = clock
        self._written: dict[UUID, float] = {}

    async def expect(self, run: Run) -> None:
        """Whoever submitted the run said that it waits for it."""
        seconds = self._after_seconds
        if seconds is None or run.phase.is_over:
            return
        await self._store.transact(lambda s: waiters.expect(s, run.run_id, seconds), repeatable=True)
        self._written[run.run_id] = self._clock()

    async def heard(self, runs: Iterable[Run]) -> None:
        """Somebody who waits for these runs has asked for them."""
        seconds = self._after_seconds
        if seconds is None:
            return
        now = self._clock()
        fresh = now - seconds * _AGAIN_AFTER
        asked = [run.run_id for run in runs if not run.phase.is_over]
        late = [run_id for run_id in asked if self._written.get(run_id, float("-inf")) <= fresh]
        if not late:
            return
        await self._store.transact(lambda s: waiters.heard(s, late, seconds), repeatable=True)
        if len(self._written) > _MOST_REMEMBERED:
            self._written = {run_id: at for run_id, at in self._written.items() if at > fresh}
        self._written.update(dict.fromkeys(late, now))
