"""How far the runs that were at a backend before the bridge was have been imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bridge.domain.identity import utc_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """The import of one namespace's old runs, the newest first.

    Runs created between ``since`` and ``until`` are wanted, ``limit`` of them at most; those created after
    ``reached`` have been taken in. ``seen`` counts them, those that were known already too; ``total`` is how
    many there are, as far as the backend told.
    """

    since: datetime
    until: datetime
    limit: int
    began_at: datetime
    reached: datetime | None = None
    seen: int = 0
    total: int | None = None
    done_at: datetime | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be imported."""
        return self.done_at is not None

    @property
    def before(self) -> datetime:
        """Only runs created before that are still to be looked at; backends compare whole seconds."""
        return (self.reached or self.until).replace(microsecond=0) + timedelta(seconds=1)

    def after_page(
        self, *, runs: int, oldest: datetime | None, total: int | None, is_last: bool, now: datetime
    ) -> Import:
        """The import after one more page: how many runs it had, and when the oldest of them was created."""
        seen = self.seen + runs
        known = [moment for moment in (self.reached, oldest) if moment is not None]
        done = is_last or seen >= self.limit
        return replace(
            self,
            seen=seen,
            total=total if total is not None else self.total,
            reached=min(known) if known else None,
            done_at=now if done else None,
        )

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        told: dict[str, Any] = {"limit": self.limit, "seen": self.seen, "total": self.total}
        for name in _TIMES:
            moment = getattr(self, name)
            told[name] = utc_text(moment) if moment is not None else None
        return told


_TIMES = ("since", "until", "began_at", "reached", "done_at")


def import_from_json(told: Mapping[str, Any] | None) -> Import | None:
    """The import that ``Import.to_json`` wrote down; ``None`` for none."""
    if not told:
        return None
    times = {name: datetime.fromisoformat(told[name]) if told[name] else None for name in _TIMES}
    return Import(limit=told["limit"], seen=told["seen"], total=told["total"], **times)  # type: ignore[arg-type]


def import_wanted(known: Import | None, *, days: float, limit: int, now: datetime) -> Import | None:
    """What is to be imported now: what is under way, begun anew further back if the settings say so, or
    ``None`` if nothing is."""
    if days <= 0 or limit <= 0:
        return None
    since = now - timedelta(days=days)
    if known is None:
        return Import(since=since, until=now, limit=limit, began_at=now)
    # Time goes on by itself: only a setting that was raised reaches further back than before.
    reach = known.until - known.since
    further = timedelta(days=days) - reach > timedelta(minutes=1)
    stopped_short = known.is_done and known.seen >= known.limit
    if further or (stopped_short and limit > known.limit):
        since = known.until - timedelta(days=days)
        return replace(
            known, since=min(since, known.since), limit=max(limit, known.limit), total=None, done_at=None
        )
    return None if known.is_done else known
