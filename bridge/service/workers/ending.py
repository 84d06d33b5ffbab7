"""Writes down the complete mirrors of runs that ended, and settles the runs: many in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping
from sqlmodel import Session

from bridge.domain.causes import Evidence
from bridge.domain.lineage import Run, RunError, RunMirror
from bridge.domain.states import MirrorState, RuntimeState
from bridge.lineage import causes, leases, outbox, reading, runs, submissions
from bridge.lineage import mirror as mirrors
from bridge.lineage.convert import run_from_row
from bridge.lineage.database import now as database_now
from bridge.lineage.duties import newest_fences
from bridge.lineage.records import Claim, Duty, MirrorCounts, RunChanges
from bridge.service.workers.cause import causes_of_failure, error_of_run, errors_of_tasks, with_seen_logs
from bridge.service.workers.settle import settle


@dataclass(frozen=True, slots=True)
class End:
    """What was read of a claimed run that had ended. ``reading`` is ``None`` where there is nothing to read,
    ``mirror`` says what that means, ``tails`` are the last log lines of its failed tasks, ``seen`` is what
    the cluster told of its pods, and ``look_at_content`` says that it has artifacts of which it can be seen
    whether they are there."""

    claim: Claim
    reading: RunMirror | None
    mirror: MirrorState
    tails: Mapping[str, tuple[str, ...]]
    seen: Sequence[Evidence]
    look_at_content: bool = False

    @property
    def rows(self) -> int:
        """About how many rows it makes."""
        return rows_of(self.reading)


def rows_of(reading: RunMirror | None) -> int:
    """About how many rows a mirror makes."""
    if reading is None:
        return 0
    return len(reading.tasks) + 2 * len(reading.artifacts) + len(reading.metrics)


def write_ends(session: Session, ends: Sequence[End]) -> dict[UUID, Run]:
    """Store, settle and give back the claims, in the caller's transaction; the runs by ``run_id``.

    A run that lives again, or did meanwhile, is not settled and is due at once: what was read is not its
    end's. One whose claim was lost is left out, and nothing of it is written. Raises ``NotStored``.
    """
    rows = runs.lock_runs(session, {end.claim.run.run_id for end in ends})
    newest = newest_fences(session, Duty.MIRROR, [row["id"] for row in rows.values()])
    held = [end for end in ends if newest.get(rows[end.claim.run.run_id]["id"]) == end.claim.fence.number]
    read = [(rows[end.claim.run.run_id], end.reading) for end in held if end.reading is not None]
    counts = mirrors.store_mirrors(session, read)
    outbox.append_all(session, [mirrored_event(run_from_row(row), counts[row["id"]]) for row, _ in read])
    moment = database_now(session)
    written: dict[UUID, Run] = {}
    ending: list[tuple[RowMapping, End]] = []
    for end in held:
        row = rows[end.claim.run.run_id]
        stored = run_from_row(row)
        if end_of(stored) == end_of(end.claim.run):
            ending.append((row, end))
        else:
            leases.release(session, end.claim, due_at=moment)
            written[stored.run_id] = stored
    written |= {run.run_id: run for run in _settled(session, ending, moment)}
    leases.release_all(session, Duty.MIRROR, [row["id"] for row, _ in ending])
    return written


def end_of(run: Run) -> tuple[object, ...]:
    """What tells one end of a run from another: a run that is retried at the backend ends again."""
    return run.phase, run.state, run.finished_at, run.revivals


def mirrored_event(run: Run, counts: MirrorCounts) -> outbox.Draft:
    """The event that tells what a mirror changed."""
    data = {"changed": asdict(counts)}
    return outbox.Draft("run.mirrored", run.run_id, data, run.project, run.backend)


def _settled(session: Session, ending: Sequence[tuple[RowMapping, End]], moment: datetime) -> list[Run]:
    failed = reading.runs_with_failed_tasks(session, [row["id"] for row, _ in ending])
    keys = [row["submission_key"] for row, _ in ending if row["submission_key"] is not None]
    gates = submissions.gates_of(session, keys)
    plain: list[tuple[RowMapping, RunChanges]] = []
    judged: list[tuple[Run, End, RunError | None]] = []
    for row, end in ending:
        stored = run_from_row(row)
        looked_into = row["id"] in failed or stored.state is RuntimeState.FAILED
        error = _error_of(session, stored, end, moment) if looked_into else stored.error
        if row["submission_key"] in gates:
            judged.append((stored, end, error))
        else:
            if end.look_at_content:
                runs.change_run(session, stored.run_id, content_due_at=moment, content_failures=0)
            changes: RunChanges = {"mirror": end.mirror, "error": error, "gate": None}
            plain.append((row, {**changes, "settled_at": stored.settled_at or moment}))
    settled = runs.change_locked(session, plain, event="run.settled")
    # One after the other, the oldest first: each is compared with the last good run before it.
    for stored, end, error in sorted(judged, key=lambda item: item[0].created_at):
        settled.append(
            settle(
                session,
                stored,
                mirror=end.mirror,
                error=error,
                now=moment,
                fence=end.claim.fence,
                look_at_content=end.look_at_content,
            )
        )
    return settled


def _error_of(session: Session, run: Run, end: End, moment: datetime) -> RunError | None:
    tasks = mirrors.tasks_of(session, run.run_id)
    logs = with_seen_logs(end.tails, tasks, end.seen)
    ranked = causes_of_failure(run, tasks, end.tails, end.seen)
    if run.state is RuntimeState.FAILED:
        causes.store_causes(session, run.run_id, ranked, waiting=False, now=moment)
    errors = errors_of_tasks(tasks, logs, ranked)
    for task_id, error in errors.items():
        mirrors.set_task_error(session, run.run_id, task_id, error)
    return error_of_run(run, tasks, errors, ranked, logs.get("", ()))
