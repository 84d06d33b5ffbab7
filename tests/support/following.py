"""Runs that a bridge follows, written straight into its database: thousands of them in a second."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import insert, select
from sqlmodel import Session

from bridge.domain.identity import Origin
from bridge.domain.lineage import PipelineRef, Run
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.lineage.bulk import in_pieces
from bridge.lineage.convert import run_to_row
from bridge.lineage.database import Database
from bridge.lineage.records import Duty
from bridge.lineage.specs import ensure_pipeline
from bridge.lineage.tables import DUTIES, RUNS

_PIPELINE = PipelineRef(name="crowded", digest="c" * 64)


def follow_runs(
    database: Database, kfp_run_ids: Sequence[UUID], *, backend: str = "default", namespace: str | None = None
) -> None:
    """As if the bridge had sent or found these runs, and last seen them running."""
    moment = datetime.now(UTC)

    def write(session: Session) -> None:
        ensure_pipeline(session, "default", _PIPELINE.name, at=moment)
        for piece in in_pieces(kfp_run_ids):
            rows = [run_to_row(run_of(one, backend, namespace, moment)) for one in piece]
            session.connection().execute(insert(RUNS), rows)
            keys = session.scalars(select(RUNS.c.id).where(RUNS.c.kfp_run_id.in_(piece)))
            duty = {"duty": Duty.FOLLOW.value, "failures": 0, "backend": backend, "project": "default"}
            session.connection().execute(insert(DUTIES), [{"run": key, **duty} for key in keys])

    database.transact(write)


def run_of(
    kfp_run_id: UUID, backend: str = "default", namespace: str | None = None, moment: datetime | None = None
) -> Run:
    """A run that is known to go on since that moment, now if none is given."""
    moment = moment or datetime.now(UTC)
    return Run(
        run_id=uuid4(),
        kfp_run_id=kfp_run_id,
        backend=backend,
        project="default",
        namespace=namespace,
        submission_key=None,
        attempt=1,
        pipeline=_PIPELINE,
        display_name=f"crowded {kfp_run_id}",
        experiment=None,
        phase=RunPhase.ACTIVE,
        state=RuntimeState.RUNNING,
        mirror=MirrorState.NONE,
        version=1,
        created_at=moment,
        started_at=moment,
        observed_at=moment,
        origin=Origin(),
    )
