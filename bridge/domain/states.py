"""States of runs and tasks, in KFP's words and spelling, parsed once and never compared as text."""

from __future__ import annotations

from enum import StrEnum


class RuntimeState(StrEnum):
    """What a backend says of a run or a task (KFP v2beta1 ``RuntimeState``).

    ``UNSPECIFIED`` stands for a state that the backend left out, which KFP does for a Workflow
    without a phase. ``UNKNOWN`` stands for a word this version does not know. Neither is terminal:
    a run must never be ended by something we failed to understand.
    """

    UNSPECIFIED = "RUNTIME_STATE_UNSPECIFIED"
    UNKNOWN = "UNKNOWN"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"
    PAUSED = "PAUSED"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing further is expected, short of a revival by KFP's ``:retry``."""
        return self in _TERMINAL

    @property
    def is_successful(self) -> bool:
        """Whether the work is there: SUCCEEDED, or SKIPPED because a cache or a condition allowed it."""
        return self in _SUCCESSFUL

    @property
    def can_be_terminated(self) -> bool:
        """Whether KFP accepts ``:terminate``; from any other state it answers 400."""
        return self in (RuntimeState.PENDING, RuntimeState.RUNNING, RuntimeState.PAUSED)


_SUCCESSFUL = frozenset({RuntimeState.SUCCEEDED, RuntimeState.SKIPPED})
_TERMINAL = _SUCCESSFUL | {RuntimeState.FAILED, RuntimeState.CANCELED}


def parse_state(word: str | None) -> RuntimeState:
    """The state a backend's word means; absent is ``UNSPECIFIED``, an unheard-of word ``UNKNOWN``."""
    if not word:
        return RuntimeState.UNSPECIFIED
    try:
        return RuntimeState(word)
    except ValueError:
        return RuntimeState.UNKNOWN


class RunPhase(StrEnum):
    """How far the bridge itself has come with a run; orthogonal to what the backend says of it.

    QUEUED      written down, nothing sent.
    SUBMITTING  a POST may have reached the backend: from here on it is never repeated blindly.
    ACTIVE      the backend knows the run; it is followed.
    ENDED       a terminal state was seen (a revival makes it ACTIVE again).
    REJECTED    the backend refused the submission for good (4xx); there is no run at the backend.
    ABANDONED   an attempt given up after an ambiguous POST; should it show up, it is terminated.
    LOST        the backend answered 404 for a run it had known: deleted or garbage-collected.
    """

    QUEUED = "QUEUED"
    SUBMITTING = "SUBMITTING"
    ACTIVE = "ACTIVE"
    ENDED = "ENDED"
    REJECTED = "REJECTED"
    ABANDONED = "ABANDONED"
    LOST = "LOST"

    @property
    def is_over(self) -> bool:
        """Whether a caller that waits for the run need wait no longer."""
        return self in (RunPhase.ENDED, RunPhase.REJECTED, RunPhase.ABANDONED, RunPhase.LOST)


class MirrorState(StrEnum):
    """How complete the lineage database's copy of a run's tasks, artifacts and metrics is.

    NONE     nothing read yet.
    PARTIAL  something was read while the run goes on, or the last reading is owed.
    COMPLETE everything the backend held after the run's end was read.
    EXPIRED  the backend no longer has the metadata; what was read before is kept.
    """

    NONE = "NONE"
    PARTIAL = "PARTIAL"
    COMPLETE = "COMPLETE"
    EXPIRED = "EXPIRED"
