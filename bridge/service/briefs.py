"""Runs in a few words, for lists in which each is one of many."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from bridge.client.history import RunBrief
from bridge.domain.lineage import Run

BriefT = TypeVar("BriefT", bound=RunBrief)
_ERROR_CHARACTERS = 300


def brief(run: Run, now: datetime) -> RunBrief:
    """The run in a few words."""
    return RunBrief(**brief_fields(run, now))


def brief_fields(run: Run, now: datetime) -> dict[str, Any]:
    """The same as fields, for messages that say more."""
    open_end = None if run.shown_state.is_terminal else now
    return {
        "run_id": run.run_id,
        "pipeline": run.pipeline.name,
        "digest": run.pipeline.digest,
        "display_name": run.display_name,
        "project": run.project,
        "backend": run.backend,
        "state": run.shown_state.value,
        "good": run.is_good,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "queued_seconds": seconds_between(run.created_at, run.started_at or run.finished_at or open_end),
        "seconds": seconds_between(run.started_at, run.finished_at or open_end),
        "dag_id": run.origin.dag_id,
        "dag_run_id": run.origin.dag_run_id,
        "task_id": run.origin.task_id,
        "error": run.error.message[:_ERROR_CHARACTERS] if run.error else None,
        "error_kind": run.error.kind if run.error else None,
    }


def seconds_between(begin: datetime | None, end: datetime | None) -> float | None:
    """Seconds from one moment to the other, to the millisecond; ``None`` if one is not known."""
    return None if begin is None or end is None else round(max(0.0, (end - begin).total_seconds()), 3)


def owner_of(run: Run | None) -> str | None:
    """Who looks after the run: its label ``owner``, else the team that asked for it."""
    return None if run is None else run.labels.get("owner") or run.origin.team


def runbook_of(run: Run | None) -> str | None:
    """Where it is written what to do: its label ``runbook``."""
    return None if run is None else run.labels.get("runbook")
