"""Makes the runs of recurring runs when they are due."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bridge.local import store_pipelines, store_recurring, store_runs
from bridge.local.rounds import Rounds
from bridge.local.schedules import fill_in, next_due
from bridge.local.sources import Source, stored_source
from bridge.local.specs import SpecCache
from bridge.local.status import StatusError
from bridge.local.store import Store
from bridge.local.store_runs import NewRun
from bridge.spec.arguments import check_arguments
from bridge.spec.load import SpecError

logger = logging.getLogger(__name__)

_LONGEST_SLEEP_SECONDS = 30.0
_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Tick:
    """One run that is due: for when, and the number it has."""

    row: sqlite3.Row
    due: int
    index: int


class Scheduler:
    """The recurring runs of one backend. A run and the memory of it are one transaction, so a backend that
    is killed makes none twice and, unless told not to catch up, leaves none out.

    ``enqueue`` is told of every run that was made; ``now`` is the clock (seconds since 1970).
    """

    def __init__(
        self,
        store: Store,
        specs: SpecCache,
        enqueue: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._specs = specs
        self._enqueue = enqueue
        self._now = now
        self._retry_at: dict[str, float] = {}
        self.rounds = Rounds("scheduler", self.sweep, _LONGEST_SLEEP_SECONDS)

    async def sweep(self) -> float:
        """Make every run that is due; returns for how many seconds nothing else will be."""
        wait = _LONGEST_SLEEP_SECONDS
        for row in await self._store.read(store_recurring.enabled_recurring_runs):
            try:
                wait = min(wait, await self._catch_up(row))
            except (StatusError, SpecError) as error:
                await self._failed(row, str(error))
        return wait

    async def _catch_up(self, row: sqlite3.Row) -> float:
        recurring_run_id, active = row["recurring_run_id"], row["active"]
        last, index = row["last_due"], row["last_index"]
        retry_in = self._retry_at.get(recurring_run_id, 0.0) - self._now()
        if row["problem"] is not None and retry_in > 0:
            return retry_in
        while True:
            now = self._now()
            due = next_due(
                store_recurring.trigger_of(row),
                created=row["created_at"],
                last=last,
                catchup=not row["no_catchup"],
                now=int(now),
            )
            if due is None or active >= row["max_concurrency"]:
                # The end of one of its runs wakes the scheduler.
                return _LONGEST_SLEEP_SECONDS
            if due > now:
                return due - now
            index += 1
            await self._trigger(_Tick(row, due, index))
            last, active = due, active + 1

    async def _trigger(self, tick: _Tick) -> None:
        source = await self._source(tick.row)
        new = self._new_run(tick, source)
        if await self._store.write(partial(_make, tick, new)):
            self._enqueue(new.run_id)

    async def _source(self, row: sqlite3.Row) -> Source:
        if row["spec_id"] is None:
            return await stored_source(self._store, self._specs, row["pipeline_id"], "")
        text = await self._store.read(lambda c: store_pipelines.get_spec(c, row["spec_id"]))
        pipeline = await self._specs.stored(row["spec_id"], text)
        return Source(pipeline, text, row["pipeline_id"], row["pipeline_version_id"])

    def _new_run(self, tick: _Tick, source: Source) -> NewRun:
        row = tick.row
        name = store_recurring.run_name(row, tick.index)
        run_id = store_recurring.run_id_of(row, name)
        arguments = fill_in(
            json.loads(row["parameters"]),
            run_id=run_id,
            scheduled=tick.due,
            now=int(self._now()),
            index=tick.index,
        )
        return NewRun(
            run_id=run_id,
            display_name=name,
            namespace=row["namespace"],
            experiment_id=row["experiment_id"],
            service_account=row["service_account"],
            spec_text=source.text,
            pipeline_name=source.pipeline.name,
            parameters=check_arguments(source.pipeline, arguments),
            pipeline_root=row["pipeline_root"],
            inline=source.inline,
            pipeline_id=source.pipeline_id,
            pipeline_version_id=source.pipeline_version_id,
            recurring_run_id=row["recurring_run_id"],
            scheduled_at=tick.due,
        )

    async def _failed(self, row: sqlite3.Row, reason: str) -> None:
        recurring_run_id = row["recurring_run_id"]
        problem = f"Failed to create the run that is due: {reason}"
        logger.warning("recurring run %s (%s): %s", recurring_run_id, row["display_name"], problem)
        self._retry_at[recurring_run_id] = self._now() + _RETRY_SECONDS
        await self._store.write(lambda c: store_recurring.set_problem(c, recurring_run_id, problem))


def _make(tick: _Tick, new: NewRun, connection: sqlite3.Connection) -> bool:
    row = store_recurring.find_recurring_run(connection, tick.row["recurring_run_id"])
    if row is None or not row["enabled"] or row["last_index"] >= tick.index:
        # It was disabled or deleted while the run was prepared.
        return False
    store_runs.add_run(connection, new)
    store_recurring.set_triggered(connection, row["recurring_run_id"], tick.index, tick.due)
    return True
