"""Small builders of domain objects, so that a test names only what it is about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from bridge.domain.identity import Origin, kfp_run_id
from bridge.domain.lineage import PipelineRef, Run, Submission
from bridge.domain.states import MirrorState, RunPhase, RuntimeState

KEY = UUID("11111111-1111-5111-8111-111111111111")
RUN_ID = UUID("22222222-2222-4222-8222-222222222222")
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
PIPELINE = PipelineRef(name="flight-delay", digest="d" * 64)


def a_run(**fields: Any) -> Run:
    """A run that was just accepted, with the given fields instead."""
    defaults: dict[str, Any] = {
        "run_id": RUN_ID,
        "kfp_run_id": kfp_run_id(KEY, 1),
        "backend": "default",
        "project": "default",
        "namespace": None,
        "submission_key": KEY,
        "attempt": 1,
        "pipeline": PIPELINE,
        "display_name": "flight-delay",
        "experiment": "Default",
        "phase": RunPhase.QUEUED,
        "state": RuntimeState.UNSPECIFIED,
        "mirror": MirrorState.NONE,
        "version": 1,
        "created_at": NOON,
    }
    return Run(**{**defaults, **fields})


def a_submission(**fields: Any) -> Submission:
    """A submission of a first try, with the given fields instead."""
    defaults: dict[str, Any] = {
        "key": KEY,
        "family": None,
        "backend": "default",
        "project": "default",
        "namespace": None,
        "pipeline": PIPELINE,
        "display_name": "flight-delay",
        "experiment": "Default",
        "arguments": {},
        "inputs": (),
        "origin": Origin(),
        "request_digest": "a" * 64,
        "created_at": NOON,
        "current_run": RUN_ID,
    }
    return Submission(**{**defaults, **fields})
