"""Imports the runs that were at a backend before the bridge was, page by page and the newest first.

How far it got is stored, so that a process that dies is continued by the next. It takes what sweeps leave of
the backend's time and waits while mirrors are owed: whoever waits for a run that just ended comes first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime

from sqlmodel import Session

from bridge.domain.history import Import, import_from_json, import_wanted
from bridge.kfp_api import messages
from bridge.kfp_api.errors import KfpError, KfpInvalid
from bridge.kfp_api.filters import Filter
from bridge.kfp_api.http import counting_seconds
from bridge.lineage import backends, leases
from bridge.lineage.database import now as database_now
from bridge.lineage.records import Duty
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.crash import crash_point
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.budget import DUTY_FACTOR
from bridge.service.workers.track import TrackWorker

log = logging.getLogger(__name__)

# A list costs KFP about the same however many rows it gives: the most that it does.
PAGE_SIZE = 200
# So many mirrors may be owed when the next page is taken in.
MOST_MIRRORS_OWED = 50
# A page is asked for when twice its cost was saved up, which the sweeps do not need; or, where they need all
# there is, after so many times its cost.
_SPARE = 2.0
_STARVED_FACTOR = 399.0
_SHORTEST_PAUSE_SECONDS = 0.2
_TOLD_EVERY = 1000


class HistoryImport:
    """Imports one backend's old runs, namespace by namespace; ``taking_in`` stores what a page tells."""

    def __init__(self, context: Context, backend: Backend, taking_in: TrackWorker | None = None) -> None:
        self._context = context
        self._store = context.background
        self._backend = backend
        self._tracker = taking_in or TrackWorker(context, backend)
        self._tokens: dict[str, tuple[Filter, str]] = {}
        self._cost = 0.0
        self._asked_at = time.monotonic()
        self._failures = 0

    async def run(self) -> None:
        """Import until all is imported, or cancelled."""
        pause: float | None = 0.0
        while pause is not None:
            await asyncio.sleep(pause)
            pause = await self.step()

    async def step(self) -> float | None:
        """One page at most; how many seconds to wait before the next step, ``None`` if nothing is left."""
        settings = self._backend.settings
        if not self._backend.leads:
            # Another process follows the backend; this one takes over with it.
            return settings.idle_tick_seconds
        for namespace in settings.namespaces:
            wanted = await self._store.read(lambda s, name=namespace: self._wanted(s, name))  # type: ignore[misc]
            if wanted is not None:
                return await self._advance(namespace, wanted)
        return None

    def _wanted(self, session: Session, namespace: str) -> Import | None:
        settings = self._backend.settings
        known = import_from_json(backends.backend_state(session, self._backend.name, namespace).history)
        now = database_now(session)
        return import_wanted(known, days=settings.import_days, limit=settings.import_runs, now=now)

    async def _advance(self, namespace: str, wanted: Import) -> float:
        name = self._backend.name
        if await self._store.read(lambda s: leases.backlog(s, Duty.MIRROR, name)) >= MOST_MIRRORS_OWED:
            return self._context.settings.worker_poll_seconds
        waited = time.monotonic() - self._asked_at
        if not self._backend.budget.allows(_SPARE * self._cost) and waited < _STARVED_FACTOR * self._cost:
            return max(_SHORTEST_PAUSE_SECONDS, self._cost)
        # Before the backend is asked: what the sweeps record while it answers is newer than the answer.
        now = await self._store.read(database_now)
        try:
            where, page = await self._ask(namespace, wanted)
        except KfpError as error:
            return self._failed(namespace, error)
        self._failures = 0
        await self._tracker.set_rows_aside(page.broken)
        await self._tracker.observe(page.runs, namespace, now)
        crash_point("history.before_remember")
        await self._remember(namespace, wanted, page, now)
        # Not before all of it is stored: what fails on the way is asked for again.
        self._tokens.pop(namespace, None)
        if page.next_page_token:
            self._tokens[namespace] = (where, page.next_page_token)
        return max(_SHORTEST_PAUSE_SECONDS, DUTY_FACTOR * self._cost)

    async def _ask(self, namespace: str, wanted: Import) -> tuple[Filter, messages.ListRuns]:
        # KFP takes a page token only together with the filter that it came with.
        where, token = self._tokens.get(namespace, (None, None))
        if where is None:
            where = Filter().at_least("created_at", wanted.since).before("created_at", wanted.before)
        with counting_seconds() as spent:
            try:
                page = await self._backend.client.list_runs(
                    namespace=namespace or None,
                    filter=where,
                    sort_by="created_at desc",
                    page_size=PAGE_SIZE,
                    page_token=token,
                    repeat=False,
                    details=False,
                )
            finally:
                self._asked_at = time.monotonic()
                self._cost = spent.seconds
                self._backend.budget.spend(spent.seconds)
        return where, page

    def _failed(self, namespace: str, error: KfpError) -> float:
        self._failures += 1
        if isinstance(error, KfpInvalid):
            # It does not take the token it gave; from what is stored it goes on without one.
            self._tokens.pop(namespace, None)
        facts = {"backend": self._backend.name, "error": str(error)}
        log.warning("old runs cannot be listed; tried again", extra=facts)
        return max(error.retry_after_seconds or 0.0, backoff_seconds(self._failures, longest=300.0))

    async def _remember(self, namespace: str, wanted: Import, page: messages.ListRuns, now: datetime) -> None:
        created = [run.created_at for run in page.runs if run.created_at is not None]
        after = wanted.after_page(
            runs=len(page.runs) + len(page.broken),
            oldest=min(created) if created else None,
            total=_total(wanted, page),
            is_last=not page.next_page_token,
            now=now,
        )
        await self._store.transact(
            lambda s: backends.change_backend_state(
                s, self._backend.name, namespace, history=after.to_json()
            ),
            repeatable=True,
        )
        if after.is_done or after.seen // _TOLD_EVERY > wanted.seen // _TOLD_EVERY:
            facts = {"backend": self._backend.name, "seen": after.seen, "total": after.total}
            log.info("old runs imported" if after.is_done else "importing old runs", extra=facts)


def _total(wanted: Import, page: messages.ListRuns) -> int | None:
    if page.total_size is None or wanted.total is not None:
        return None
    return min(wanted.limit, wanted.seen + page.total_size)
