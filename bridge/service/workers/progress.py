"""Writes down what was read of runs that go on: their state as it was told, and their mirrors so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlmodel import Session

from bridge.domain.decide import Observation, Policy
from bridge.domain.lineage import Run, RunMirror
from bridge.domain.states import MirrorState, RunPhase
from bridge.lineage import leases, outbox, runs
from bridge.lineage import mirror as mirrors
from bridge.lineage.convert import run_from_row
from bridge.lineage.database import now as database_now
from bridge.lineage.duties import newest_fences
from bridge.lineage.records import Claim, Duty
from bridge.service.workers.ending import mirrored_event, rows_of
from bridge.service.workers.record import record_all


@dataclass(frozen=True, slots=True)
class Look:
    """What was read of a claimed run that went on when it was claimed. ``seen`` is its state as it came with
    its tasks, ``reading`` is ``None`` where the metadata does not know the run."""

    claim: Claim
    seen: Observation | None
    reading: RunMirror | None

    @property
    def rows(self) -> int:
        """About how many rows it makes."""
        return rows_of(self.reading)


@dataclass(frozen=True, slots=True)
class Looked:
    """The run as it is stored now, and the runs that changed by what was told of its state."""

    run: Run
    changed: tuple[Run, ...] = ()


def write_looks(session: Session, looks: Sequence[Look], policy: Policy) -> dict[UUID, Looked]:
    """Record the states, store the mirrors and give back the claims, in the caller's transaction.

    The runs are by ``run_id``. Of one that ended while it was read no mirror is stored: its complete one is
    due already. One whose claim was lost is left out, and nothing of it is written. Raises ``NotStored``.
    """
    rows = runs.lock_runs(session, {look.claim.run.run_id for look in looks})
    newest = newest_fences(session, Duty.MIRROR, [row["id"] for row in rows.values()])
    held = [
        look for look in looks if newest.get(rows[look.claim.run.run_id]["id"]) == look.claim.fence.number
    ]
    stored = {look.claim.run.run_id: run_from_row(rows[look.claim.run.run_id]) for look in held}
    seen = [(stored[look.claim.run.run_id], look.seen) for look in held if look.seen is not None]
    recorded = record_all(session, seen, database_now(session), policy)
    found = {run_id: Looked(run) for run_id, run in stored.items()}
    found |= {one.run.run_id: Looked(one.run, one.changed) for one in recorded}
    going = [
        (rows[look.claim.run.run_id], look.reading)
        for look in held
        if look.reading is not None and found[look.claim.run.run_id].run.phase is RunPhase.ACTIVE
    ]
    counts = mirrors.store_mirrors(session, going)
    told = [(found[row["run_id"]].run, counts[row["id"]]) for row, _ in going]
    outbox.append_all(session, [mirrored_event(run, one) for run, one in told if any(asdict(one).values())])
    begun = [run.run_id for run, _ in told if run.mirror is MirrorState.NONE]
    for run_id, run in runs.change_runs(
        session, {one: {"mirror": MirrorState.PARTIAL} for one in begun}
    ).items():
        found[run_id] = Looked(run, found[run_id].changed)
    leases.release_all(session, Duty.MIRROR, [rows[run_id]["id"] for run_id in stored])
    return found
