"""One pass over the history that removes what is old enough, batch by batch, under a lease."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlmodel import Session

from bridge.lineage import forgetting, leases, retention
from bridge.lineage.database import Database, now
from bridge.lineage.retention import Place, cutoff
from bridge.service.retention_settings import RetentionSettings
from bridge.service.settings import ServiceSettings

LEASE = "retention"
LEASE_SECONDS = 60.0


class RetentionBusy(Exception):
    """Another process is at it."""


@dataclass(slots=True)
class Removed:
    """How much was removed, or would be; ``artifacts`` are edges of runs to artifacts, ``logs`` runs whose
    lines were forgotten, ``staying`` why old runs stay."""

    runs: int = 0
    artifacts: int = 0
    logs: int = 0
    events: int = 0
    staying: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """The counts as ``--json`` and the log tell them."""
        return {**self.counts(), "staying": dict(self.staying)}

    def counts(self) -> dict[str, int]:
        """What was removed, by what it is."""
        return {name: getattr(self, name) for name in ("runs", "artifacts", "logs", "events")}


class RetentionPass:
    """One pass; blocks. ``dry_run`` only counts. ``readers`` are who reads events inside of the bridge."""

    def __init__(
        self,
        database: Database,
        settings: RetentionSettings,
        *,
        holder: str,
        readers: tuple[str, ...] = ("usage",),
        dry_run: bool = False,
    ) -> None:
        self._database = database
        self._settings = settings
        self._holder = holder
        self._readers = readers
        self._dry_run = dry_run
        self.removed = Removed()

    def batches(self) -> Generator[None, None, None]:
        """Does one batch at each step. Raises ``RetentionBusy``, and what the database raises."""
        self._take()
        moment = self._database.read(now)
        settings = self._settings
        try:
            if settings.runs_days is not None:
                yield from self._runs(cutoff(moment, settings.runs_days))
            if settings.artifacts_days is not None:
                yield from self._artifacts(cutoff(moment, settings.artifacts_days))
            if settings.logs_days is not None:
                yield from self._logs(cutoff(moment, settings.logs_days))
            if settings.events_days is not None:
                yield from self._events(cutoff(moment, settings.events_days))
        finally:
            if not self._dry_run:
                drop = partial(leases.drop_lease, name=LEASE, holder=self._holder)
                self._database.transact(drop, repeatable=True)

    def _take(self) -> None:
        """The lease, or some more of it; two that remove the same would only wait for each other."""
        if self._dry_run:
            return

        def take(session: Session) -> bool:
            held = leases.take_lease(session, LEASE, holder=self._holder, lease_seconds=LEASE_SECONDS)
            return held is not None

        if not self._database.transact(take, repeatable=True):
            raise RetentionBusy("another process removes what is old from this database")

    def _runs(self, before: datetime) -> Iterator[None]:
        place: Place | None = None
        while True:
            look = partial(retention.old_runs, before=before, after=place)
            page = self._database.read(look)
            self.removed.staying.update(page.staying)
            if self._dry_run:
                self.removed.runs += len(page.going)
                yield
            else:
                yield from self._remove_runs(list(page.going), before)
            place = page.next
            if place is None:
                return

    def _remove_runs(self, keys: list[int], before: datetime) -> Iterator[None]:
        while keys:
            self._take()
            remove = partial(retention.remove_runs, keys=keys, before=before)
            removed = self._database.transact(remove)
            self.removed.runs += len(removed)
            keys = [key for key in keys if key not in removed] if removed else []
            yield

    def _artifacts(self, before: datetime) -> Iterator[None]:
        place: Place | None = None
        while True:
            look = partial(retention.old_artifacts, before=before, after=place)
            edges, place = self._database.read(look)
            self.removed.artifacts += self._done(edges, retention.remove_edges)
            yield
            if place is None:
                return

    def _logs(self, before: datetime) -> Iterator[None]:
        place: Place | None = None
        while True:
            look = partial(forgetting.old_logs, before=before, after=place)
            runs, place = self._database.read(look)
            self.removed.logs += self._done(runs, forgetting.forget_logs)
            yield
            if place is None:
                return

    def _events(self, before: datetime) -> Iterator[None]:
        place: int | None = 0
        while place is not None:
            look = partial(
                forgetting.old_events,
                before=before,
                after=place,
                readers=self._readers,
            )
            rows, place = self._database.read(look)
            self.removed.events += self._done(rows, forgetting.remove_events)
            yield

    def _done(self, keys: list[int], remove: Callable[[Session, list[int]], int]) -> int:
        if not keys or self._dry_run:
            return len(keys)
        self._take()
        return self._database.transact(lambda session: remove(session, keys))


def readers_of(settings: ServiceSettings) -> tuple[str, ...]:
    """Who reads events inside of the bridge; a consumer that is not configured any more is not waited for."""
    return ("usage", "openlineage") if settings.openlineage else ("usage",)
