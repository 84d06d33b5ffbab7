"""What has to hold after every step of a simulation, and what at its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.lineage.convert import run_from_row
from bridge.lineage.database import Database
from bridge.lineage.mirror import metrics_of, tasks_of
from bridge.lineage.records import Claim, Duty, HistoryEntry
from bridge.lineage.runs import history_of
from bridge.lineage.tables import DUTIES, OUTBOX, RUNS, SUBMISSIONS
from tests.faults.simulated.kfp import SimulatedKfp
from tests.faults.stage import LIVE_STATES


@dataclass
class Checks:
    """Looks at the database and the backend; every look compares with the one before."""

    database: Database
    kfp: SimulatedKfp
    _history: dict[UUID, list[HistoryEntry]] = field(default_factory=dict)
    _versions: dict[UUID, int] = field(default_factory=dict)
    _accepted: set[UUID] = field(default_factory=set)

    def accepted(self, run: Run) -> None:
        """A caller was told that this run is the answer."""
        self._accepted.add(run.run_id)

    def runs(self) -> list[Run]:
        """Everything stored, the first one first."""
        return self.database.read(_runs)

    def after_every_step(self) -> None:
        """One live run a key, nothing posted twice, no end lost or made up, no accepted run forgotten."""
        stored = self.runs()
        self._check_posts(stored)
        self._check_live(stored)
        for run in stored:
            self._check_history(run)
        assert self._accepted <= {run.run_id for run in stored}, "an accepted run was lost"
        self.database.read(_check_duties)
        self.database.read(_check_numbers)

    def before_a_post(self, kfp_run_id: UUID) -> None:
        """A run that waits for another one's end is not sent before it."""
        stored = {run.run_id: run for run in self.runs()}
        sent = next((run for run in stored.values() if run.kfp_run_id == kfp_run_id), None)
        assert sent is not None, f"a run that is not stored was sent: {kfp_run_id}"
        earlier = stored.get(sent.after_run) if sent.after_run else None
        if earlier is None or earlier.kfp_run_id in self.kfp.revived_elsewhere:
            return
        row = self.kfp.runs.get(str(earlier.kfp_run_id))
        assert row is None or row.get("state", "") not in LIVE_STATES, (
            "sent beside the run it had to wait for"
        )

    def under_claim(self, claim: Claim, write: Callable[[], Any], what: str) -> Any:
        """A transaction under a claim that another worker has claimed since leaves nothing behind."""
        if self.database.read(lambda s: _fence(s, claim)) == claim.fence.number:
            return write()
        before = self.database.read(lambda s: _trace(s, claim))
        try:
            return write()
        finally:
            after = self.database.read(lambda s: _trace(s, claim))
            assert after == before, f"a fenced worker has written: {what}"

    def at_the_end(self) -> None:
        """Every submission has come to a true end, and the mirror is what the backend holds."""
        stored = self.runs()
        rows = {UUID(name): row for name, row in self.kfp.runs.items()}
        unknown = set(rows) - {run.kfp_run_id for run in stored}
        assert not unknown, f"runs at the backend that the bridge does not know: {unknown}"
        by_key: defaultdict[UUID, list[Run]] = defaultdict(list)
        for run in stored:
            if run.submission_key is not None:
                by_key[run.submission_key].append(run)
            self._check_end(run, rows.get(run.kfp_run_id))
        current = self.database.read(_current_runs)
        given_up = {run.run_id for run in stored if run.phase is RunPhase.ABANDONED}
        assert not given_up & set(current.values()), (
            "a submission is answered by an attempt that was given up"
        )
        for key, attempts in by_key.items():
            assert [run.attempt for run in attempts] == list(range(1, len(attempts) + 1))
            assert current[key] == attempts[-1].run_id
            ends = [rows[run.kfp_run_id]["state"] for run in attempts if run.kfp_run_id in rows]
            if not self._is_touched(attempts):
                assert ends.count("SUCCEEDED") <= 1, f"one key, done twice: {ends}"
        unnumbered = self.database.read(
            lambda s: s.scalar(select(func.count()).where(OUTBOX.c.number.is_(None)))
        )
        assert unnumbered == 0, f"{unnumbered} events were never numbered"

    def _check_posts(self, stored: Sequence[Run]) -> None:
        twice = [run_id for run_id, count in self.kfp.posted.items() if count > 1]
        assert not twice, f"posted twice: {twice}"
        for run in stored:
            if run.phase is RunPhase.QUEUED:
                assert run.kfp_run_id not in self.kfp.posted, "a run that was sent is queued to be sent"

    def _check_live(self, stored: Sequence[Run]) -> None:
        live = set(self.kfp.live())
        by_key: defaultdict[UUID | None, list[Run]] = defaultdict(list)
        for run in stored:
            by_key[run.submission_key].append(run)
        for key, attempts in by_key.items():
            if key is None or self._is_touched(attempts):
                continue
            alive = [
                run.attempt
                for run in attempts
                if run.kfp_run_id in live and run.phase is not RunPhase.ABANDONED
            ]
            assert len(alive) <= 1, f"attempts {alive} of one key are alive at once"

    def _is_touched(self, attempts: Sequence[Run]) -> bool:
        """Whether somebody revived one of them past the bridge, which nobody can foresee."""
        return any(run.kfp_run_id in self.kfp.revived_elsewhere for run in attempts)

    def _check_history(self, run: Run) -> None:
        before = self._history.get(run.run_id, [])
        if self._versions.get(run.run_id) == run.version:
            return
        assert run.version > self._versions.get(run.run_id, 0), "a version went back"
        now = self.database.read(lambda s: history_of(s, run.run_id))
        assert now[: len(before)] == before, f"history was changed: {before} became {now}"
        assert (now[-1].phase, now[-1].state) == (run.phase, run.state)
        assert run.phase.is_over or run.settled_at is None, "nobody waits for a run that goes on"
        if run.phase is RunPhase.ENDED and run.mirror is MirrorState.COMPLETE:
            self._check_complete(run)
        for entry in now[len(before) :]:
            self._check_entry(run, entry)
        self._history[run.run_id], self._versions[run.run_id] = now, run.version

    def _check_entry(self, run: Run, entry: HistoryEntry) -> None:
        match entry.phase:
            case RunPhase.ENDED:
                withdrawn = entry.state is RuntimeState.CANCELED and run.cancel_requested_at is not None
                true = (run.kfp_run_id, entry.state.value) in self.kfp.ended
                assert true or withdrawn, f"{entry.state} was never true of {run.kfp_run_id}"
            case RunPhase.LOST:
                assert run.kfp_run_id in self.kfp.deleted, "a run is called lost that was always there"
            case RunPhase.REJECTED:
                raise AssertionError(f"the backend never refused it for good: {entry.error}")
            case RunPhase.ABANDONED:
                assert not any(
                    before.phase is RunPhase.ACTIVE for before in self._history.get(run.run_id, [])
                ), "a run was given up that the backend had shown"

    def _check_end(self, run: Run, row: Mapping[str, Any] | None) -> None:
        what = f"attempt {run.attempt} of {run.submission_key}"
        assert run.phase.is_over, f"{what} is {run.phase} for ever"
        if row is not None:
            assert row["state"] not in LIVE_STATES, f"{what} goes on at the backend, {run.phase} here"
        if run.phase is RunPhase.ENDED:
            assert run.settled_at is not None, f"nobody is told that {what} has ended"
            if row is not None:
                assert (run.state.value, _told(run.finished_at)) == (row["state"], row["finished_at"]), (
                    f"{what}: another end"
                )
                assert run.mirror is MirrorState.COMPLETE, f"{what}: its mirror is {run.mirror}"
                self._check_mirror(run)

    def _check_complete(self, run: Run) -> None:
        """A mirror that is called complete is that of the end which is stored."""
        row = self.kfp.runs.get(str(run.kfp_run_id))
        if row is not None and (row["state"], row["finished_at"]) == (
            run.state.value,
            _told(run.finished_at),
        ):
            self._check_mirror(run)

    def _check_mirror(self, run: Run) -> None:
        held = self.kfp.mirrors[run.kfp_run_id]
        tasks, metrics = self.database.read(lambda s: (tasks_of(s, run.run_id), metrics_of(s, run.run_id)))
        assert {(task.task_id, task.path, task.state) for task in tasks} == {
            (task.task_id, task.path, task.state) for task in held.tasks
        }, "the mirror's tasks are not the backend's"
        assert {(metric.key, metric.value) for metric in metrics} == {
            (metric.key, metric.value) for metric in held.metrics
        }, "the mirror's metrics are not the backend's"


def _told(moment: datetime | None) -> str | None:
    """As the backend writes it."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _runs(session: Session) -> list[Run]:
    return [run_from_row(row) for row in session.execute(select(RUNS).order_by(RUNS.c.id)).mappings()]


def _current_runs(session: Session) -> dict[UUID, UUID]:
    rows = session.execute(select(SUBMISSIONS.c.key, SUBMISSIONS.c.current_run))
    return {row.key: row.current_run for row in rows}


def _fence(session: Session, claim: Claim) -> int | None:
    run = select(RUNS.c.id).where(RUNS.c.run_id == claim.run.run_id).scalar_subquery()
    found: int | None = session.scalar(
        select(DUTIES.c.fence).where(DUTIES.c.run == run, DUTIES.c.duty == claim.fence.duty.value)
    )
    return found


def _trace(session: Session, claim: Claim) -> tuple[Any, ...]:
    """What any write concerning the claim's run would change."""
    key = session.scalar(select(RUNS.c.id).where(RUNS.c.run_id == claim.run.run_id))
    return (
        session.execute(select(RUNS).where(RUNS.c.id == key)).all(),
        session.execute(select(DUTIES).where(DUTIES.c.run == key).order_by(DUTIES.c.duty)).all(),
        session.scalar(select(func.count()).select_from(OUTBOX)),
        session.scalar(select(func.count()).select_from(RUNS)),
        [(task.task_id, task.state, task.error) for task in tasks_of(session, claim.run.run_id)],
    )


def _check_duties(session: Session) -> None:
    """Whoever is not over is somebody's duty; whose end is not mirrored too."""
    cared = (DUTIES.c.due_at.is_not(None)) | (DUTIES.c.lease_until.is_not(None))

    def without(phases: tuple[str, ...], duty: Duty, *more: Any) -> list[Any]:
        mine = (
            select(DUTIES.c.id).where(DUTIES.c.run == RUNS.c.id, DUTIES.c.duty == duty.value, cared).exists()
        )
        statement = select(RUNS.c.kfp_run_id, RUNS.c.phase).where(RUNS.c.phase.in_(phases), ~mine, *more)
        return list(session.execute(statement).all())

    # Who is in the queue is given a place when there is one.
    forgotten = without(("QUEUED",), Duty.FOLLOW, RUNS.c.queued_at.is_(None))
    forgotten += without(("SUBMITTING",), Duty.FOLLOW)
    forgotten += without(("ENDED",), Duty.MIRROR, RUNS.c.mirror == "PARTIAL")
    assert not forgotten, f"nobody's duty any more: {forgotten}"


def _check_numbers(session: Session) -> None:
    count, last = session.execute(select(func.count(OUTBOX.c.number), func.max(OUTBOX.c.number))).one()
    assert count == (last or 0), f"{count} events are numbered up to {last}"
