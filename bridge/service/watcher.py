"""Notices changes that other processes made to runs somebody here waits for."""

from __future__ import annotations

import asyncio
import logging
from uuid import UUID

from bridge.lineage import runs
from bridge.lineage.errors import DatabaseUnavailable
from bridge.lineage.records import RunFilter
from bridge.service.context import Context

log = logging.getLogger(__name__)

_BATCH = 200


async def watch_changes(context: Context) -> None:
    """Ask the database, at a modest rate and while somebody waits, for the versions of awaited runs."""
    while True:
        await asyncio.sleep(context.settings.change_poll_seconds)
        watched = context.wakeups.runs.watched
        try:
            for start in range(0, len(watched), _BATCH):
                await _look(context, watched[start : start + _BATCH])
        except DatabaseUnavailable as error:
            log.warning("changes cannot be watched", extra={"error": str(error)})


async def _look(context: Context, ids: tuple[UUID, ...]) -> None:
    where = RunFilter(ids=ids)
    found, _ = await context.store.read(lambda s: runs.list_runs(s, where, limit=_BATCH))
    for run in found:
        context.wakeups.runs.announce(run.run_id, run.version)
