"""One namespace of a backend, swept in pieces: the newest ends, older ones, and what has not finished.

Each piece is one request, so that whoever calls can weigh what it costs. KFP's page tokens keep their
place while runs come and go, so a sweep may take as many rounds as it needs.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from bridge.domain.decide import Missing, Observation
from bridge.kfp_api import messages
from bridge.kfp_api.errors import KfpBadAnswer, KfpNotFound, KfpServerError
from bridge.kfp_api.filters import Filter, finished_since, unfinished
from bridge.service.workers.record import observation_of
from bridge.service.workers.suspects import cannot_be_read

log = logging.getLogger(__name__)

# KFP writes Argo's whole seconds late and out of order.
OVERLAP = timedelta(seconds=600)
PAGE_SIZE = 200
# So many rows in a row that are known, and newer ends are taken to be all seen: what comes later is older.
_KNOWN_ROWS = 100
_MAX_PAGES = 500


class Asking(Protocol):
    """What a sweep needs of the worker that follows the backend."""

    async def list_runs(
        self, namespace: str, where: Filter, token: str | None, sort_by: str | None = None
    ) -> messages.ListRuns:
        """One page of runs, its cost counted."""
        ...

    async def get_run(self, kfp_run_id: UUID) -> messages.Run:
        """One run, its cost counted."""
        ...

    async def observe(self, page: Sequence[messages.Run], namespace: str, asked_at: datetime) -> None:
        """Record what a page says."""
        ...

    async def record(self, seen: dict[UUID, Observation | Missing]) -> list[UUID]:
        """Record observations; the ids that nobody knows are given back."""
        ...

    async def followed(self, namespace: str) -> tuple[set[UUID], datetime]:
        """The runs that are followed there, and the database's time before they were read."""
        ...

    async def blame(self, kfp_run_id: UUID, error: Exception) -> None:
        """Count that what is told of a run makes no sense; after too many it is passed over."""
        ...

    def is_known_end(self, run: messages.Run) -> bool:
        """Whether the row tells an end that was recorded."""
        ...


@dataclass(slots=True)
class _Older:
    """A pass over the ends of the whole overlap, begun where the newest ones were left."""

    where: Filter
    token: str


@dataclass(slots=True)
class _Slow:
    """A pass over what has not finished. ``expected`` are runs that should turn up in it."""

    expected: set[UUID]
    token: str | None = None
    pages: int = 0


@dataclass(slots=True)
class NamespaceSweep:
    """The sweeps of one namespace, ``""`` in single-user KFP. ``watermark`` is the newest end seen."""

    namespace: str
    asking: Asking
    watermark: datetime | None = None
    _older: _Older | None = None
    _slow: _Slow | None = None
    _absent: deque[UUID] = field(default_factory=deque)
    _older_next: bool = False

    async def newest(self, now: datetime) -> None:
        """Look for new ends, the newest first, page by page for as long as a page ends with any."""
        watermark = self.watermark or now
        where = finished_since(watermark - OVERLAP)
        newest = watermark
        token: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self.asking.list_runs(self.namespace, where, token, "finished_at desc")
            deepest = [not self.asking.is_known_end(run) for run in page.runs[-_KNOWN_ROWS:]]
            newest = await self._ends_of(page, newest, now)
            token = page.next_page_token
            if not token or not any(deepest):
                break
        self.watermark = newest
        if self._older is None and token:
            # KFP takes a page token only together with the filter that it came with.
            self._older = _Older(where, token)

    async def _ends_of(self, page: messages.ListRuns, newest: datetime, now: datetime) -> datetime:
        fresh = [run for run in page.runs if not self.asking.is_known_end(run)]
        await self.asking.observe(fresh, self.namespace, now)
        return max([newest, *(ended for run in page.runs if (ended := run.ended_at))])

    @property
    def is_slow(self) -> bool:
        """Whether a pass over what has not finished is under way."""
        return self._slow is not None or bool(self._absent)

    async def begin_slow(self) -> None:
        """Begin a pass over what has not finished, unless one is under way."""
        if not self.is_slow:
            # Read before the first page: a run submitted while the pass goes on must not look lost.
            expected, _ = await self.asking.followed(self.namespace)
            self._slow = _Slow(expected)

    def next_piece(self) -> Callable[[datetime], Awaitable[None]] | None:
        """What can be done next, if anything: one request, called with the database's time."""
        if self._absent:
            return self._look_up
        self._older_next = not self._older_next
        if self._older is not None and (self._older_next or self._slow is None):
            return self._older_page
        return self._slow_page if self._slow is not None else None

    async def _older_page(self, now: datetime) -> None:
        """Ends that were told late: their rows stand among those seen long before."""
        older = self._older
        assert older is not None
        page = await self.asking.list_runs(self.namespace, older.where, older.token, "finished_at desc")
        await self._ends_of(page, now, now)
        self._older = _Older(older.where, page.next_page_token) if page.next_page_token else None

    async def _slow_page(self, now: datetime) -> None:
        slow = self._slow
        assert slow is not None
        page = await self.asking.list_runs(self.namespace, unfinished(), slow.token)
        await self.asking.observe(page.runs, self.namespace, now)
        slow.expected -= {seen.kfp_run_id for run in page.runs if (seen := observation_of(run))}
        slow.token, slow.pages = page.next_page_token, slow.pages + 1
        if slow.token and slow.pages < _MAX_PAGES:
            return
        self._slow = None
        if slow.expected and not slow.token:
            # Those that ended meanwhile are accounted for.
            followed, _ = await self.asking.followed(self.namespace)
            self._absent.extend(sorted(slow.expected & followed))

    async def _look_up(self, now: datetime) -> None:
        """A run we follow that the backend did not list as unfinished: it ended, or is gone."""
        kfp_run_id = self._absent.popleft()
        seen: Observation | Missing | None
        try:
            seen = observation_of(await self.asking.get_run(kfp_run_id), asked_at=now)
        except KfpNotFound:
            seen = Missing()
        except (KfpServerError, KfpBadAnswer) as error:
            # This one cannot be shown; the next list tells whether the backend is in trouble.
            log.warning("a run cannot be read", extra={"kfp_run_id": kfp_run_id, "error": str(error)})
            if cannot_be_read(error):
                await self.asking.blame(kfp_run_id, error)
            return
        if seen is not None:
            await self.asking.record({kfp_run_id: seen})

    def forget_passes(self) -> None:
        """Begin every pass anew: the backend does not take the page tokens it gave."""
        self._older = self._slow = None
        self._absent.clear()
