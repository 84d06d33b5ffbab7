"""One pass over the history that removes what is old enough, batch by batch, under a lease."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlmodel import Session

from bridge.lineage import forgetting, leases, retention
from bridge.lineage.database import Database, now
from bridge.lineage.retention import Place, cutoff
from bridge.service.retention_settings import RetentionSettings
from bridge.service.settings import ServiceSettings

PlaceT = TypeVar("PlaceT")

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
        most = None if self._dry_run else retention.MOST_EDGES
        while True:
            look = partial(retention.old_artifacts, before=before, after=place, most=most)
            removed, following = self._page(look, retention.remove_edges)
            self.removed.artifacts += removed
            yield
            if removed == most:
                # These runs may have more of them.
                continue
            place = following
            if place is None:
                return

    def _logs(self, before: datetime) -> Iterator[None]:
        place: Place | None = None
        while True:
            look = partial(forgetting.old_logs, before=before, after=place)
            removed, place = self._page(look, forgetting.forget_logs)
            self.removed.logs += removed
            yield
            if place is None:
                return

    def _events(self, before: datetime) -> Iterator[None]:
        place: int | None = 0
        while place is not None:
            look = partial(forgetting.old_events, before=before, after=place, readers=self._readers)
            removed, place = self._page(look, forgetting.remove_events)
            self.removed.events += removed
            yield

    def _page(
        self,
        look: Callable[[Session], tuple[list[int], PlaceT | None]],
        remove: Callable[[Session, list[int]], int],
    ) -> tuple[int, PlaceT | None]:
        """How much went of one page, and where the next one begins. What was found is looked at once more in
        the transaction that removes it: it may have come to matter."""
        keys, place = self._database.read(look)
        if not keys or self._dry_run:
            return len(keys), place
        self._take()

        def work(session: Session) -> tuple[int, PlaceT | None]:
            going, following = look(session)
            return (remove(session, going) if going else 0), following

        return self._database.transact(work)


def readers_of(settings: ServiceSettings) -> tuple[str, ...]:
    """Who reads events inside of the bridge; a consumer that is not configured any more is not waited for."""
    return ("usage", "openlineage") if settings.openlineage else ("usage",)
