"""What whoever is on call asks: who can put a failure right, and which expected run never started. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

MIN_RUNS = 5
_MOST_SPREAD = 0.25
_GRACE = 0.5
_LEAST_GRACE = timedelta(minutes=10)
# A pipeline that has been silent for so many of its intervals was ended, not forgotten.
MOST_INTERVALS = 10
_LEAST_INTERVAL = timedelta(minutes=5)

_GROUPS = {
    "code": "code",
    "timeout": "code",
    "data": "data",
    "image": "image",
    "quota": "quota",
    "unschedulable": "quota",
    "out_of_memory": "quota",
    "node": "node",
    "backend": "backend",
}


def group_of(kind: str | None) -> str:
    """Who can put a cause of this kind right: ``code``, ``data``, ``image``, ``quota`` (whatever is a matter
    of resources), ``node``, ``backend``, or ``other``."""
    return _GROUPS.get(kind or "", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A run that was to start at ``expected_at``, as often as runs used to start."""

    every: timedelta
    expected_at: datetime
    late: timedelta


def overdue(started: Sequence[datetime], now: datetime) -> Overdue | None:
    """Whether the next run is overdue, by when earlier ones were submitted (in any order).

    Only a steady rhythm expects anything: five runs or more whose intervals are within a quarter of their
    median. Late is later than half an interval and ten minutes; after ten intervals nothing is expected.
    """
    moments = sorted(started)
    if len(moments) < MIN_RUNS:
        return None
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    every = timedelta(seconds=median(gaps))
    if every < _LEAST_INTERVAL:
        return None
    spread = timedelta(seconds=median(abs(gap - every.total_seconds()) for gap in gaps))
    late = now - (moments[-1] + every)
    if spread > every * _MOST_SPREAD or late < max(every * _GRACE, _LEAST_GRACE):
        return None
    if late > every * MOST_INTERVALS:
        return None
    return Overdue(every=every, expected_at=moments[-1] + every, late=late)
