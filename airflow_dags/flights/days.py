"""Which day a DagRun is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any


def day_of(params: Mapping[str, Any], logical_date: datetime | None) -> date:
    """The day named by the param ``day`` (ISO), else by the logical date (in UTC).

    Raises ``ValueError`` if neither names one, which is so for a run triggered without a date.
    """
    named = params.get("day")
    if named:
        return date.fromisoformat(str(named))
    if logical_date is None:
        raise ValueError("this run has no logical date: give the param day, such as 2013-01-05")
    return logical_date.astimezone(UTC).date()
