"""What to do about a run, given what is stored, what was observed and what time it is.

Level-triggered and pure: the same three always give the same action, however often and in whatever
order observations arrive, so a lost or repeated observation does no harm. Workers carry actions out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from bridge.domain.lineage import Run, RunError
from bridge.domain.states import RunPhase, RuntimeState


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a backend said of a run it knows. ``finished_at`` is ``None`` while unfinished.

    ``asked_at`` is a moment, by the clock of the run's own times, not later than when the backend was
    asked; ``None`` claims that it is news whatever is stored.
    """

    kfp_run_id: UUID
    state: RuntimeState
    state_word: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    error: RunError | None = None
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """The backend was asked for the run by id and answered 404."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What decisions depend on beside the run; all seconds.

    KFP deletes a Workflow without a row after ``orphan_grace_seconds``, at the next report of its
    agent, whose backoff reaches ``agent_backoff_seconds``; only then is a second POST safe.
    """

    orphan_grace_seconds: float = 120.0
    agent_backoff_seconds: float = 360.0
    lookup_interval_seconds: float = 2.0

    @property
    def orphan_deadline(self) -> timedelta:
        """How long after an ambiguous POST a 404 proves nothing."""
        return timedelta(seconds=self.orphan_grace_seconds + self.agent_backoff_seconds)


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to do."""


@dataclass(frozen=True, slots=True)
class Post:
    """Send the POST, once; the run was never sent."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """A POST may have arrived: ask the backend for the run by its id."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Ask again, not before the given moment."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """Give the ambiguous attempt up and make the next one, under a new id."""

    reason: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """A cancel came before anything was sent: the run ends CANCELED without the backend."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The run lives: record its state (and that the backend knows it)."""

    observation: Observation


@dataclass(frozen=True, slots=True)
class End:
    """A terminal state was seen: record it, and the duty to mirror, in one transaction."""

    observation: Observation


@dataclass(frozen=True, slots=True)
class Revive:
    """A run that had ended goes on (KFP's ``:retry``): keep its history, follow it again."""

    observation: Observation


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask the backend to stop the run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The backend has lost a run that it knew: keep the history, tell whoever waits."""


Action = (
    Nothing
    | Post
    | LookUp
    | WaitUntil
    | NewAttempt
    | Withdraw
    | Progress
    | End
    | Revive
    | Terminate
    | Tombstone
)
Seen = Observation | Missing | None


def decide(run: Run, seen: Seen, now: datetime, policy: Policy) -> Action:
    """The one action that the stored run, the newest observation and the time call for."""
    match run.phase:
        case RunPhase.QUEUED:
            return _queued(run, seen)
        case RunPhase.SUBMITTING:
            return _submitting(run, seen, now, policy)
        case RunPhase.ACTIVE:
            return _active(run, seen)
        case RunPhase.ABANDONED:
            return _abandoned(seen)
        case RunPhase.ENDED | RunPhase.LOST | RunPhase.REJECTED:
            return _over(run, seen)


def is_old_news(run: Run, seen: Seen) -> bool:
    """Whether the backend was asked before what is stored of the run was observed.

    Answers overtake each other: a slow list, a process that was frozen. What such an answer says may
    have been true, and is no reason to go back to it.
    """
    if not isinstance(seen, Observation) or seen.asked_at is None or run.observed_at is None:
        return False
    return seen.asked_at <= run.observed_at


def _queued(run: Run, seen: Seen) -> Action:
    if isinstance(seen, Observation):
        return _found(run, seen)
    return Withdraw() if run.cancel_requested_at else Post()


def _submitting(run: Run, seen: Seen, now: datetime, policy: Policy) -> Action:
    if isinstance(seen, Observation):
        return _found(run, seen)
    if seen is None:
        return LookUp()
    began = run.submitted_at or run.created_at
    if now - began < policy.orphan_deadline:
        return WaitUntil(now + timedelta(seconds=policy.lookup_interval_seconds))
    if run.cancel_requested_at:
        return Withdraw()
    return NewAttempt("the backend never showed the run that an unanswered POST may have made")


def _active(run: Run, seen: Seen) -> Action:
    if isinstance(seen, Missing):
        return Tombstone()
    if seen is None:
        return Terminate("cancel requested") if _wants_termination(run, run.state) else Nothing()
    if run.revivals and seen.state.is_terminal and is_old_news(run, seen):
        # The end of the life before.
        return Nothing()
    return _found(run, seen)


def _found(run: Run, seen: Observation) -> Action:
    if seen.state.is_terminal:
        return End(seen)
    if _wants_termination(run, seen.state):
        return Terminate("cancel requested")
    if run.phase is not RunPhase.ACTIVE or seen.state is not run.state:
        return Progress(seen)
    return Nothing()


def _wants_termination(run: Run, state: RuntimeState) -> bool:
    return run.cancel_requested_at is not None and state.can_be_terminated


def _abandoned(seen: Seen) -> Action:
    if isinstance(seen, Observation) and seen.state.can_be_terminated:
        return Terminate("this attempt was given up and another one took its place")
    return Nothing()


def _over(run: Run, seen: Seen) -> Action:
    if not isinstance(seen, Observation) or is_old_news(run, seen):
        return Nothing()
    if not seen.state.is_terminal:
        # Neither an unspecified nor an unknown word proves that an ended run lives again.
        alive = seen.state not in (RuntimeState.UNSPECIFIED, RuntimeState.UNKNOWN)
        return Revive(seen) if alive else Nothing()
    changed = seen.state is not run.state or seen.finished_at != run.finished_at
    return End(seen) if changed or run.phase is not RunPhase.ENDED else Nothing()
