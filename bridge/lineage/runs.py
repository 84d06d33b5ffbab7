"""Runs: reading and changing them. Listing is in ``listing``, kept importable from here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Unpack, cast
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, func, select, text, true, update
from sqlmodel import Session

from bridge.domain.lineage import Metric, Run
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.lineage import audit, outbox, quarantine
from bridge.lineage.bulk import in_pieces, insert_keyed, insert_timed
from bridge.lineage.columns import database_time
from bridge.lineage.convert import error_from_json, error_to_json, run_from_row, run_to_row
from bridge.lineage.duties import Moment, begin_duties, check_fence, set_due, sooner
from bridge.lineage.errors import NotStored
from bridge.lineage.listing import list_runs
from bridge.lineage.mirror import metrics_of
from bridge.lineage.records import Duty, Fence, HistoryEntry, RunChanges
from bridge.lineage.specs import ensure_pipeline
from bridge.lineage.tables import RUN_HISTORY, RUNS
from bridge.lineage.tables.running import OPEN_PHASES

__all__ = [
    "add_found_run",
    "any_open",
    "change_locked",
    "change_run",
    "change_runs",
    "count_by_phase",
    "get_by_kfp_id",
    "get_run",
    "history_of",
    "insert_run",
    "insert_runs",
    "last_good_run",
    "list_runs",
    "lock_runs",
    "request_cancel",
    "unfinished_kfp_ids",
    "waiting_for",
]

_TOLD_CHARACTERS = 600
# The workers' own columns: of no interest to readers, so they make neither a version nor an event.
_QUIET = frozenset({"observed_at", "queued_at", "placed_at"})
_DUE = {
    "due_at": (Duty.FOLLOW, "failures"),
    "mirror_due_at": (Duty.MIRROR, "mirror_failures"),
    "content_due_at": (Duty.CONTENT, "content_failures"),
}
_DUTY_KEYS = frozenset(_DUE) | {failures for _, failures in _DUE.values()}


def get_run(session: Session, run_id: UUID) -> Run | None:
    """The run with our id."""
    row = session.execute(select(RUNS).where(RUNS.c.run_id == run_id)).mappings().first()
    return None if row is None else run_from_row(row)


def get_by_kfp_id(session: Session, backend: str, kfp_run_ids: Collection[UUID]) -> dict[UUID, Run]:
    """The stored runs among the given backend ids, by backend id."""
    found: dict[UUID, Run] = {}
    for piece in in_pieces(kfp_run_ids):
        statement = select(RUNS).where(RUNS.c.backend == backend, RUNS.c.kfp_run_id.in_(piece))
        for row in session.execute(statement).mappings():
            found[row["kfp_run_id"]] = run_from_row(row)
    return found


def insert_run(
    session: Session,
    run: Run,
    *,
    due_at: datetime | None = None,
    due_now: bool = False,
    event: str = "run.created",
) -> bool:
    """Write a new run, its first history entry, its duty to be followed and its event. ``False``, and
    nothing written, if its ``run_id`` or ``kfp_run_id`` is stored already."""
    return run.run_id in insert_runs(session, [run], due_at=due_at, due_now=due_now, event=event)


def insert_runs(
    session: Session,
    new: Sequence[Run],
    *,
    due_at: datetime | None = None,
    due_now: bool = False,
    event: str = "run.created",
) -> set[UUID]:
    """As ``insert_run``, for several: the ``run_id`` of those that were written."""
    keys = insert_keyed(session, RUNS, "run_id", [run_to_row(run) for run in new])
    written = {keys[run.run_id]: run for run in new if run.run_id in keys}
    begin_duties(session, written, Duty.FOLLOW, due_at, now=due_now)
    insert_timed(session, RUN_HISTORY, "at", [_history_row(key, run) for key, run in written.items()])
    outbox.append_all(session, [_event(event, run) for run in written.values()])
    return set(keys)


def add_found_run(session: Session, run: Run, *, due_at: datetime | None = None) -> Run:
    """Store a run that others started on the backend; the stored one if it is known already.

    A run that had ended when it was found is due to be mirrored at once.
    """
    ensure_pipeline(session, run.project, run.pipeline.name, at=run.created_at)
    if insert_run(session, run, due_at=due_at, event="run.found"):
        if run.phase is RunPhase.ENDED and run.mirror in (MirrorState.NONE, MirrorState.PARTIAL):
            change_run(session, run.run_id, mirror_due_at=_database_now(session))
        return run
    known = get_by_kfp_id(session, run.backend, [run.kfp_run_id]).get(run.kfp_run_id)
    if known is None:
        raise NotStored(f"the id {run.run_id} is taken by another run")
    return known


def change_run(
    session: Session,
    run_id: UUID,
    *,
    fence: Fence | None = None,
    event: str = "run.changed",
    **changes: Unpack[RunChanges],
) -> Run:
    """Change a run: version + 1 and an outbox event in the same transaction, history if phase or state moved.

    Nothing is written if nothing differs. ``due_at`` and ``mirror_due_at`` are set in the same
    transaction; by the holder of that duty's claim (``fence``) they only ever come sooner. Raises
    ``NotStored``, and ``FencedOut`` when ``fence`` is no longer the newest claim.
    """
    row = lock_runs(session, [run_id])[run_id]
    if fence is not None:
        check_fence(session, row["id"], run_id, fence)
    given = cast(dict[str, Any], changes)
    (changed,) = _change_rows(session, [(row, given)], event)
    _set_duties(session, [(row["id"], changed, given)], fence)
    return changed


def change_runs(
    session: Session, changes: Mapping[UUID, RunChanges], *, event: str = "run.changed"
) -> dict[UUID, Run]:
    """As ``change_run`` for many runs of which the caller holds no claim. Raises ``NotStored``."""
    rows = lock_runs(session, changes)
    given = [(rows[run_id], cast(dict[str, Any], told)) for run_id, told in changes.items()]
    changed = _change_rows(session, given, event)
    _set_duties(session, [(row["id"], run, told) for (row, told), run in zip(given, changed, strict=True)])
    return {run.run_id: run for run in changed}


def touch_run(session: Session, run_id: UUID, *, event: str) -> Run:
    """Something that is kept beside a run changed: version + 1 and an event, so that whoever waits for
    news of the run gets it. Raises ``NotStored``."""
    row = session.execute(select(RUNS).where(RUNS.c.run_id == run_id).with_for_update()).mappings().first()
    if row is None:
        raise NotStored(f"there is no run {run_id}")
    changed = replace(run_from_row(row), version=row["version"] + 1)
    session.execute(update(RUNS).where(RUNS.c.id == row["id"]).values(version=changed.version))
    outbox.append_all(session, [_event(event, changed)])
    return changed


def lock_runs(session: Session, run_ids: Collection[UUID]) -> dict[UUID, RowMapping]:
    """The rows of the runs, which nobody else changes until the transaction ends. Raises ``NotStored``."""
    found: dict[UUID, RowMapping] = {}
    for piece in in_pieces(run_ids):
        # One order everywhere, so that two transactions never wait for each other crosswise.
        statement = select(RUNS).where(RUNS.c.run_id.in_(piece)).order_by(RUNS.c.id).with_for_update()
        found |= {row["run_id"]: row for row in session.execute(statement).mappings()}
    for run_id in run_ids:
        if run_id not in found:
            raise NotStored(f"there is no run {run_id}")
    return found


def change_locked(
    session: Session, changes: Sequence[tuple[RowMapping, RunChanges]], *, event: str = "run.changed"
) -> list[Run]:
    """As ``change_run`` for many runs that ``lock_runs`` gave; when they are due is not among the changes."""
    return _change_rows(session, [(row, cast(dict[str, Any], given)) for row, given in changes], event)


def _change_rows(
    session: Session, changes: Sequence[tuple[RowMapping, Mapping[str, Any]]], event: str
) -> list[Run]:
    updates: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    history, events, after_all = [], [], []
    for row, given in changes:
        stored = run_from_row(row)
        wanted = {name: value for name, value in given.items() if name not in _DUTY_KEYS}
        changed = replace(stored, **wanted)
        loud = replace(changed, **{name: getattr(stored, name) for name in _QUIET}) != stored
        if loud:
            changed = replace(changed, version=stored.version + 1)
            events.append(_event(event, changed))
            if (changed.phase, changed.state) != (stored.phase, stored.state):
                history.append(_history_row(row["id"], changed))
        before, after = run_to_row(stored), run_to_row(changed)
        differing = {f"new_{name}": value for name, value in after.items() if value != before[name]}
        if differing:
            updates[tuple(differing)].append({"changed_id": row["id"], **differing})
        after_all.append(changed)
    for names, rows in updates.items():
        values: dict[str, Any] = {name.removeprefix("new_"): bindparam(name) for name in names}
        session.connection().execute(
            update(RUNS).where(RUNS.c.id == bindparam("changed_id")).values(values), rows
        )
    insert_timed(session, RUN_HISTORY, "at", history)
    outbox.append_all(session, events)
    return after_all


def _set_duties(
    session: Session, changes: Sequence[tuple[int, Run, Mapping[str, Any]]], fence: Fence | None = None
) -> None:
    """Set what the changes say of duties, as many as are told the same together."""
    for due_name, (duty, failures_name) in _DUE.items():
        alike: defaultdict[tuple[bool, Any, int | None], dict[int, Run]] = defaultdict(dict)
        for key, run, given in changes:
            if due_name in given or failures_name in given:
                told = (due_name in given, given.get(due_name), given.get(failures_name))
                alike[told][key] = run
        for (is_told, due_at, failures), runs in alike.items():
            moment: Moment = due_at
            if not is_told or (fence is not None and fence.duty is duty):
                moment = sooner(due_at)
            set_due(session, duty, runs, moment, failures=failures)


def _history_row(key: int, run: Run) -> dict[str, Any]:
    return {
        "run": key,
        "phase": run.phase.value,
        "state": run.state.value,
        "version": run.version,
        "error": error_to_json(run.error),
        "backend": run.backend,
        "project": run.project,
    }


def _event(event: str, run: Run) -> outbox.Draft:
    data: dict[str, Any] = {
        "run_id": str(run.run_id),
        "kfp_run_id": str(run.kfp_run_id),
        "version": run.version,
        "state": run.shown_state.value,
        "phase": run.phase.value,
        "mirror": run.mirror.value,
        "settled": run.settled_at is not None,
        "good": run.is_good,
        "pipeline": run.pipeline.name,
        "display_name": run.display_name,
    }
    for name in ("dag_id", "dag_run_id", "task_id"):
        if getattr(run.origin, name) is not None:
            data[name] = getattr(run.origin, name)
    if run.error is not None and run.shown_state is RuntimeState.FAILED:
        error = run.error
        message = error.message[:_TOLD_CHARACTERS]
        data["error"] = {"message": message, "kind": error.kind, "task": error.task}
    return outbox.Draft(event, run.run_id, data, run.project, run.backend)


def _database_now(session: Session) -> datetime:
    moment: datetime = session.execute(select(database_time())).scalar_one()
    return moment


def request_cancel(
    session: Session, run_id: UUID, *, at: datetime, reason: str | None = None, actor: str = ""
) -> Run:
    """Ask for the run's end: due at once, audited. Nothing happens if it was asked before or the run is
    over. Raises ``NotStored``."""
    run = get_run(session, run_id)
    if run is None:
        raise NotStored(f"there is no run {run_id}")
    if run.cancel_requested_at is not None or run.phase.is_over:
        return run
    audit.record(
        session,
        "run.cancel",
        actor=actor,
        run_id=run_id,
        data={"reason": reason},
        before={"phase": run.phase.value, "cancel_requested": False},
        after={"phase": run.phase.value, "cancel_requested": True},
        project=run.project,
        backend=run.backend,
    )
    # Whatever kept it from being sent, it can be withdrawn.
    quarantine.lift(session, [run_id], Duty.FOLLOW)
    return change_run(session, run_id, cancel_requested_at=at, due_at=_database_now(session))


def history_of(session: Session, run_id: UUID) -> list[HistoryEntry]:
    """Every phase and state the run has gone through, oldest first."""
    statement = (
        select(RUN_HISTORY)
        .join(RUNS, RUNS.c.id == RUN_HISTORY.c.run)
        .where(RUNS.c.run_id == run_id)
        .order_by(RUN_HISTORY.c.id)
    )
    return [
        HistoryEntry(
            at=row["at"],
            phase=RunPhase(row["phase"]),
            state=RuntimeState(row["state"]),
            version=row["version"],
            error=error_from_json(row["error"]),
        )
        for row in session.execute(statement).mappings()
    ]


def unfinished_kfp_ids(session: Session, backend: str, namespace: str | None = None) -> set[UUID]:
    """The backend's ids of all runs that are followed there (phase ACTIVE)."""
    statement = select(RUNS.c.kfp_run_id).where(RUNS.c.backend == backend, text("runs.phase = 'ACTIVE'"))
    if namespace is not None:
        statement = statement.where(func.coalesce(RUNS.c.namespace, "") == namespace)
    return set(session.scalars(statement))


def waiting_for(session: Session, run_ids: Collection[UUID]) -> list[Run]:
    """Queued runs that are sent only when one of the given is over (``after_run``)."""
    found: list[Run] = []
    for piece in in_pieces(run_ids):
        statement = select(RUNS).where(RUNS.c.after_run.in_(piece), RUNS.c.phase == RunPhase.QUEUED.value)
        found += [run_from_row(row) for row in session.execute(statement).mappings()]
    return found


def any_open(session: Session, backend: str) -> bool:
    """Whether any run of the backend is QUEUED, SUBMITTING or ACTIVE."""
    statement = select(1).where(RUNS.c.backend == backend, text(OPEN_PHASES)).limit(1)
    return session.execute(statement).first() is not None


def count_by_phase(session: Session, backend: str, projects: Collection[str] = ()) -> dict[RunPhase, int]:
    """How many runs, of all projects or of some, are QUEUED, SUBMITTING and ACTIVE; those over are not
    counted."""
    statement = (
        select(RUNS.c.phase, func.count())
        .where(RUNS.c.backend == backend, text(OPEN_PHASES))
        .group_by(RUNS.c.phase)
    )
    if projects:
        statement = statement.where(RUNS.c.project.in_(projects))
    counts = {RunPhase(phase): int(count) for phase, count in session.execute(statement)}
    return {phase: counts.get(phase, 0) for phase in (RunPhase.QUEUED, RunPhase.SUBMITTING, RunPhase.ACTIVE)}


def last_good_run(
    session: Session,
    project: str,
    pipeline_name: str,
    *,
    before: datetime | None = None,
    excluding: UUID | None = None,
) -> tuple[Run, list[Metric]] | None:
    """The newest good run of the pipeline (``Run.is_good``) with its metrics; created before ``before``
    if that is given, and not ``excluding``."""
    # Spelt and ordered as the partial index is, or SQLite walks all runs of the project.
    statement = (
        select(RUNS)
        .where(RUNS.c.project == project, RUNS.c.pipeline_name == pipeline_name, RUNS.c.good == true())
        .order_by(RUNS.c.created_at.desc())
        .limit(1)
    )
    if before is not None:
        statement = statement.where(RUNS.c.created_at < before)
    if excluding is not None:
        statement = statement.where(RUNS.c.run_id != excluding)
    row = session.execute(statement).mappings().first()
    if row is None:
        return None
    run = run_from_row(row)
    return run, metrics_of(session, run.run_id)
