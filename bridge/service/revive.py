"""How a run is tried again: by KFP's ``:retry``, under its own id from the tasks that failed, or by Airflow,
whose task is cleared."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from sqlmodel import Session

from bridge.client.models import ClearedModel
from bridge.domain.decide import Observation
from bridge.domain.lineage import Run
from bridge.domain.states import RunPhase, RuntimeState
from bridge.kfp_api.errors import KfpError, KfpInvalid
from bridge.lineage import audit, runs, submissions
from bridge.lineage.database import now as database_now
from bridge.lineage.errors import DatabaseUnavailable
from bridge.lineage.switches import is_paused
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.convert import is_over
from bridge.service.problems import ProblemError
from bridge.service.workers.record import Recorded, observation_of, record

log = logging.getLogger(__name__)

# In the audit log; a cleared DagRun can have thousands.
_MOST_TOLD = 100
_RETRYABLE = (RuntimeState.FAILED, RuntimeState.CANCELED)


async def retry_failed_tasks(context: Context, run: Run, *, actor: str = "") -> Run:
    """Ask the backend to go on with the run, and record that it lives and that ``actor`` wanted it. Raises
    ``ProblemError``.

    Asking twice is harmless: a run that lives again already is taken as it is.
    """
    if run.phase is RunPhase.REJECTED:
        raise ProblemError(
            "not-retryable",
            "the backend refused this run (phase REJECTED), so there is nothing to go on with: do what its "
            "error says and submit it again, under another key or as the next try of its task",
        )
    if run.phase is not RunPhase.ENDED or run.state not in _RETRYABLE:
        raise ProblemError(
            "not-retryable",
            f"only a run that failed or was canceled can be retried; this one is {run.shown_state}",
        )
    if not await context.store.read(lambda s: _is_current(s, run)):
        raise ProblemError(
            "superseded", "a later attempt of the same submission took this run's place; retry that one"
        )
    backend = context.backends.get(run.backend)
    if backend is None:
        raise ProblemError(
            "unknown-backend", f"the backend {run.backend} of this run is no longer configured"
        )
    if await context.store.read(lambda s: is_paused(s, run.backend)):
        raise ProblemError("backend-paused", f"backend {run.backend} is paused: nothing is started there now")
    try:
        seen = await _revive(backend, run)
    except KfpError as error:
        if error.retryable:
            context.note_error(backend, error)
            raise ProblemError(
                "backend-unavailable",
                f"backend {backend.name}: {error.message}",
                retry_after_seconds=error.retry_after_seconds or 5.0,
            ) from error
        raise ProblemError("backend-refused", f"backend {backend.name}: {error.message}") from error
    return await _record(context, backend, run, seen, actor)


async def clear_task(context: Context, run: Run, *, actor: str = "") -> ClearedModel:
    """Have Airflow clear the task that asked for the run, and record that ``actor`` wanted it. Raises
    ``ProblemError``."""
    if context.airflow is None or not context.airflow.knows(run.origin):
        raise ProblemError(
            "not-clearable",
            "the settings name no way into the Airflow that asked for this run (the table airflow)"
            if run.origin.scheduler == "airflow"
            else "Airflow did not ask for this run: use :retry",
        )
    if not is_over(run):
        raise ProblemError(
            "not-clearable", f"only a run that is over is tried again; it is {run.shown_state}"
        )
    if run.is_good:
        raise ProblemError("not-clearable", "the run succeeded: there is nothing to try again")
    if not await context.store.read(lambda s: _is_newest(s, run)):
        raise ProblemError(
            "superseded", "a later try of the task, or a clear, took this run's place; look at that one"
        )
    origin = run.origin
    asked = {"dag_id": origin.dag_id, "dag_run_id": origin.dag_run_id, "task_id": origin.task_id}
    # Written down first: what Airflow has done cannot be taken back.
    await context.store.transact(lambda s: _audit_clear(s, "task.clear", run, asked, actor))
    tasks = await context.airflow.clear(origin)
    told = {**asked, "tasks": tasks[:_MOST_TOLD]}
    try:
        await context.store.transact(lambda s: _audit_clear(s, "task.cleared", run, told, actor))
    except DatabaseUnavailable as error:
        log.error("what Airflow cleared is not in the audit log", extra={**told, "error": str(error)})
    return ClearedModel(
        run_id=run.run_id,
        dag_id=origin.dag_id or "",
        dag_run_id=origin.dag_run_id or "",
        tasks=tasks,
    )


def _is_current(session: Session, run: Run) -> bool:
    """Whether a submission's older attempt would not be made to live beside the newest."""
    key = run.submission_key
    submission = submissions.find_submission(session, key) if key else None
    return submission is None or submission.current_run == run.run_id


def _is_newest(session: Session, run: Run) -> bool:
    """Whether nobody has asked for the task again since, by another try or after a clear."""
    submission = (
        submissions.find_submission(session, run.submission_key, lock=False) if run.submission_key else None
    )
    if submission is None:
        return True
    if submission.current_run != run.run_id:
        return False
    family = submission.family
    other = submissions.newest_submission(session, family, other_than=submission.key) if family else None
    return other is None or other.created_at < submission.created_at


def _audit_clear(session: Session, action: str, run: Run, told: dict[str, Any], actor: str) -> None:
    audit.record(
        session,
        action,
        actor=actor,
        run_id=run.run_id,
        after=told,
        project=run.project,
        backend=run.backend,
    )


async def _revive(backend: Backend, run: Run) -> Observation:
    try:
        await backend.client.retry_run(run.kfp_run_id)
    except KfpInvalid:
        # An earlier request may have revived it, and its answer was lost.
        seen = observation_of(await backend.client.get_run(run.kfp_run_id))
        if seen is None or seen.state.is_terminal:
            raise
        return seen
    seen = observation_of(await backend.client.get_run(run.kfp_run_id))
    if seen is None or seen.state.is_terminal:
        # The row follows the Workflow with a lag: that it was accepted is what counts.
        return Observation(kfp_run_id=run.kfp_run_id, state=RuntimeState.PENDING, created_at=run.started_at)
    return replace(seen, state=RuntimeState.PENDING) if seen.state is RuntimeState.UNSPECIFIED else seen


async def _record(context: Context, backend: Backend, run: Run, seen: Observation, actor: str) -> Run:
    def write(session: Session) -> Recorded:
        stored = runs.get_run(session, run.run_id) or run
        if stored.cancel_requested_at is not None:
            # A wish to stop belongs to the life that ended.
            stored = runs.change_run(session, run.run_id, cancel_requested_at=None)
        recorded = record(session, stored, seen, database_now(session), backend.policy)
        if recorded.changed and stored.phase.is_over:
            _audit_retry(session, stored, recorded.run, actor)
        return recorded

    recorded = await context.store.transact(write)
    context.store.announce(recorded.changed)
    context.ring_after(recorded.changed)
    context.wakeups.track(backend.name).ring()
    return recorded.run


def _audit_retry(session: Session, before: Run, after: Run, actor: str) -> None:
    audit.record(
        session,
        "run.retry",
        actor=actor,
        run_id=before.run_id,
        before={"phase": before.phase.value, "state": before.state.value},
        after={"phase": after.phase.value, "state": after.state.value},
        project=before.project,
        backend=before.backend,
    )
