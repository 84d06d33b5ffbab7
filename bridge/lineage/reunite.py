"""Runs that were found at a backend and turn out to be a submission's: of a database that was restored.

What was submitted after the backup was taken is not in it. The sweeps find those runs again, as runs that
somebody started; the key of their submission, when it is asked for again, tells whose they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import select, union_all, update
from sqlmodel import Session

from bridge.domain.identity import kfp_run_id
from bridge.domain.lineage import Direction, Run, Submission
from bridge.domain.states import RunPhase
from bridge.lineage.bulk import in_pieces
from bridge.lineage.columns import database_time
from bridge.lineage.datasets import record_inputs
from bridge.lineage.jobs import expect_job_run
from bridge.lineage.runs import change_run, get_by_kfp_id
from bridge.lineage.submissions import add_adopting_submission
from bridge.lineage.tables import (
    ARTIFACT_USES,
    ARTIFACTS,
    DUTIES,
    EMISSIONS,
    METRIC_BLOBS,
    METRICS,
    RUN_HISTORY,
    RUNS,
    SUBMISSIONS,
    TASKS,
    USED_KEYS,
)

# Which attempts are looked for: earlier ones may have been given up and never have been at the backend.
_MOST_ATTEMPTS = 8
_OF_A_RUN = (TASKS, METRICS, METRIC_BLOBS, ARTIFACT_USES, RUN_HISTORY, DUTIES, EMISSIONS)


def adopt_found_runs(session: Session, submission: Submission) -> tuple[Submission, Run] | None:
    """Write a submission whose runs were found at its backend, and make them its own: as it is stored, with
    its newest attempt; ``None``, and nothing written, if none was found.

    Of which try they are nobody knows any more: as many tries are taken as done as there were attempts.
    Raises ``DuplicateSubmission`` if the key is stored.
    """
    attempts = _attempts(submission.key)
    stored = get_by_kfp_id(session, submission.backend, attempts)
    found = {attempts[run.kfp_run_id]: run for run in stored.values() if run.submission_key is None}
    if not found:
        return None
    tied = [_tie(session, submission, run, number) for number, run in sorted(found.items())]
    newest = tied[-1]
    known = replace(
        submission, try_number=min(submission.try_number, newest.attempt), current_run=newest.run_id
    )
    add_adopting_submission(session, known, newest.run_id)
    return known, newest


def known_keys(session: Session, submissions: Sequence[Submission]) -> set[UUID]:
    """The keys of those submissions that are stored, or were until they were removed, and of those that
    ``adopt_found_runs`` would find runs for."""
    known: set[UUID] = set()
    for piece in in_pieces(submissions):
        meant = {one.key: one.key for one in piece}
        looks = [select(one.c.key).where(one.c.key.in_(list(meant))) for one in (SUBMISSIONS, USED_KEYS)]
        attempts: dict[str, dict[UUID, UUID]] = {}
        for one in piece:
            attempts.setdefault(one.backend, {}).update(dict.fromkeys(_attempts(one.key), one.key))
        for backend, ids in attempts.items():
            found = (RUNS.c.backend == backend, RUNS.c.kfp_run_id.in_(ids), RUNS.c.submission_key.is_(None))
            looks.append(select(RUNS.c.kfp_run_id).where(*found))
            meant |= ids
        known.update(meant[one] for one in session.scalars(union_all(*looks)))
    return known


def _attempts(key: UUID) -> dict[UUID, int]:
    """The numbers of a submission's attempts that are looked for, by their ids at the backend."""
    return {kfp_run_id(key, number): number for number in range(1, _MOST_ATTEMPTS + 1)}


def _tie(session: Session, submission: Submission, run: Run, attempt: int) -> Run:
    if run.project != submission.project:
        _move(session, run, submission.project)
    tied = change_run(
        session,
        run.run_id,
        submission_key=submission.key,
        attempt=attempt,
        project=submission.project,
        namespace=submission.namespace,
        pipeline=submission.pipeline,
        display_name=submission.display_name,
        experiment=submission.experiment,
        arguments=submission.arguments,
        labels=submission.labels,
        origin=submission.origin,
    )
    expect_job_run(session, submission.project, submission.origin)
    record_inputs(session, run.run_id, submission.project, submission.inputs)
    if tied.phase is RunPhase.ENDED and submission.gate is not None:
        # It was settled without its gate.
        moment = session.execute(select(database_time())).scalar_one()
        tied = change_run(session, run.run_id, settled_at=None, mirror_due_at=moment)
    return tied


def _move(session: Session, run: Run, project: str) -> None:
    """What belongs to the run follows it into another project."""
    key = select(RUNS.c.id).where(RUNS.c.run_id == run.run_id).scalar_subquery()
    for one in _OF_A_RUN:
        session.execute(update(one).where(one.c.run == key).values(project=project))
    made = select(ARTIFACT_USES.c.artifact).where(
        ARTIFACT_USES.c.run == key, ARTIFACT_USES.c.direction == Direction.OUTPUT.value
    )
    session.execute(update(ARTIFACTS).where(ARTIFACTS.c.id.in_(made)).values(project=project))
