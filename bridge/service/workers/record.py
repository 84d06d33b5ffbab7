"""Writes down what ``decide()`` says of an observation, in the transaction that read the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from bridge.domain.decide import (
    Action,
    End,
    Missing,
    Nothing,
    Observation,
    Policy,
    Progress,
    Revive,
    Terminate,
    Tombstone,
    decide,
)
from bridge.domain.lineage import Run, RunError
from bridge.domain.states import MirrorState, RunPhase
from bridge.kfp_api import messages
from bridge.lineage import quarantine, runs
from bridge.lineage.convert import run_from_row
from bridge.lineage.records import Duty, Fence, RunChanges

_LOST = RunError(
    code="LOST",
    message="the backend no longer knows this run: it was deleted there or garbage-collected; "
    "what was mirrored before is kept",
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was decided, and the runs that changed (the run itself first, if it did)."""

    action: Action
    run: Run
    changed: tuple[Run, ...]


def observation_of(run: messages.Run, *, asked_at: datetime | None = None) -> Observation | None:
    """What a backend's message says of a run; ``None`` if it carries no id that could be ours.

    ``asked_at`` is a time of the database not later than when the backend was asked.
    """
    try:
        identity = UUID(run.run_id or "")
    except ValueError:
        return None
    error = run.error.message if run.error else None
    return Observation(
        kfp_run_id=identity,
        state=run.runtime_state,
        state_word=run.state,
        created_at=run.created_at,
        finished_at=run.ended_at,
        error=RunError(message=error, code=_code(run)) if error else None,
        asked_at=asked_at,
    )


def record(
    session: Session,
    run: Run,
    seen: Observation | Missing,
    now: datetime,
    policy: Policy,
    *,
    fence: Fence | None = None,
) -> Recorded:
    """Decide about a run that this transaction has read, and write what follows from it.

    A termination is made due for the worker that carries it out, once per news: that worker asks
    again by its own clock.
    """
    return _carry_out(session, decide(run, seen, now, policy), run, seen, now=now, fence=fence)


def lock_news(
    session: Session, seen: Sequence[tuple[Run, Observation | Missing]], now: datetime, policy: Policy
) -> list[tuple[Run, Observation | Missing]]:
    """Of runs that were read without a lock, those about which there is something to do: locked, and as
    they are by now. Another transaction may have changed them since, so it has to be decided again."""
    news = {run.run_id: one for run, one in seen if not isinstance(decide(run, one, now, policy), Nothing)}
    rows = runs.lock_runs(session, news)
    return [(run_from_row(rows[run_id]), one) for run_id, one in news.items()]


def record_all(
    session: Session, seen: Sequence[tuple[Run, Observation | Missing]], now: datetime, policy: Policy
) -> list[Recorded]:
    """As ``record`` for many runs, which this transaction has locked; those that end are written together."""
    decided = [(run, one, decide(run, one, now, policy)) for run, one in seen]
    ends = [(run, action.observation) for run, _, action in decided if isinstance(action, End)]
    ended = _end_all(session, ends, now)
    return [
        Recorded(action, ended[run.run_id][0], ended[run.run_id])
        if isinstance(action, End)
        else _carry_out(session, action, run, one, now=now, fence=None)
        for run, one, action in decided
    ]


def _carry_out(
    session: Session,
    action: Action,
    run: Run,
    seen: Observation | Missing,
    *,
    now: datetime,
    fence: Fence | None,
) -> Recorded:
    match action:
        case Progress(observation=observation):
            changed: tuple[Run, ...] = _progress(session, run, observation, now, fence)
        case End(observation=observation):
            changed = _end(session, run, observation, now, fence)
        case Revive(observation=observation):
            changed = _revive(session, run, observation, now, fence)
        case Terminate():
            assert isinstance(seen, Observation)
            changed = _terminate_due(session, run, seen, now, fence)
        case Tombstone():
            lost = runs.change_run(
                session,
                run.run_id,
                fence=fence,
                event="run.lost",
                phase=RunPhase.LOST,
                error=_LOST,
                observed_at=now,
                settled_at=now,
            )
            changed = (lost, *_release_waiting(session, run, now))
        case _:
            changed = ()
    return Recorded(action, changed[0] if changed else run, changed)


def _progress(
    session: Session, run: Run, seen: Observation, now: datetime, fence: Fence | None
) -> tuple[Run, ...]:
    return (
        runs.change_run(
            session,
            run.run_id,
            fence=fence,
            phase=RunPhase.ACTIVE,
            state=seen.state,
            started_at=run.started_at or seen.created_at,
            observed_at=now,
            mirror_due_at=now,
        ),
    )


def _end(
    session: Session, run: Run, seen: Observation, now: datetime, fence: Fence | None
) -> tuple[Run, ...]:
    quarantine.lift(session, [run.run_id], Duty.MIRROR)
    changes = _changes_of_end(run, seen, now)
    ended = runs.change_run(session, run.run_id, fence=fence, event="run.ended", **changes)
    return (ended, *_release_waiting(session, run, now))


def _end_all(
    session: Session, ends: Sequence[tuple[Run, Observation]], now: datetime
) -> dict[UUID, tuple[Run, ...]]:
    """By ``run_id``: the run that ended, and those that waited for it."""
    if not ends:
        return {}
    ids = [run.run_id for run, _ in ends]
    quarantine.lift(session, ids, Duty.MIRROR)
    changes = {run.run_id: _changes_of_end(run, seen, now) for run, seen in ends}
    found: dict[UUID, tuple[Run, ...]] = {
        run_id: (run,) for run_id, run in runs.change_runs(session, changes, event="run.ended").items()
    }
    for waiting in runs.waiting_for(session, ids):
        assert waiting.after_run is not None
        released = runs.change_run(session, waiting.run_id, due_at=now)
        found[waiting.after_run] = (*found[waiting.after_run], released)
    return found


def _changes_of_end(run: Run, seen: Observation, now: datetime) -> RunChanges:
    # The change of state and the duty to mirror are one transaction: neither can be lost alone.
    return {
        "phase": RunPhase.ENDED,
        "state": seen.state,
        "started_at": run.started_at or seen.created_at,
        "finished_at": seen.finished_at,
        "observed_at": now,
        "settled_at": None,
        "error": None if seen.state.is_successful else (seen.error or run.error),
        "mirror": MirrorState.PARTIAL,
        "mirror_due_at": now,
        "mirror_failures": 0,
    }


def _revive(
    session: Session, run: Run, seen: Observation, now: datetime, fence: Fence | None
) -> tuple[Run, ...]:
    return (
        runs.change_run(
            session,
            run.run_id,
            fence=fence,
            event="run.revived",
            phase=RunPhase.ACTIVE,
            state=seen.state,
            finished_at=None,
            settled_at=None,
            error=None,
            gate=None,
            mirror=MirrorState.PARTIAL,
            observed_at=now,
            mirror_due_at=now,
            revivals=run.revivals + 1,
        ),
    )


def _terminate_due(
    session: Session, run: Run, seen: Observation, now: datetime, fence: Fence | None
) -> tuple[Run, ...]:
    phase = RunPhase.ABANDONED if run.phase is RunPhase.ABANDONED else RunPhase.ACTIVE
    if run.phase is phase and run.state is seen.state:
        return ()
    return (
        runs.change_run(
            session,
            run.run_id,
            fence=fence,
            phase=phase,
            state=seen.state,
            started_at=run.started_at or seen.created_at,
            observed_at=now,
            due_at=now,
        ),
    )


def _release_waiting(session: Session, run: Run, now: datetime) -> tuple[Run, ...]:
    """Runs that waited for this one's end are due now."""
    return tuple(
        runs.change_run(session, waiting.run_id, due_at=now)
        for waiting in runs.waiting_for(session, [run.run_id])
    )


def _code(run: messages.Run) -> str | None:
    return str(run.error.code) if run.error and run.error.code is not None else None
