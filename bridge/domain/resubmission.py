"""What a request gets whose submission, or whose task's earlier generation, already exists. Pure."""

from __future__ import annotations

from enum import StrEnum

from bridge.domain.identity import Origin
from bridge.domain.lineage import OnClear, OnRetry, Run, Submission
from bridge.domain.states import RunPhase, RuntimeState


class Answer(StrEnum):
    """The one thing to do about a repeated request.

    SAME        the stored run is the answer; nothing changes.
    ADOPT       as SAME, but recorded as a higher try, with a warning if the arguments changed.
    CONFLICT    the same key and try with another body: 422.
    ZOMBIE      a lower try than one already seen: 409.
    WAIT        the run is being canceled; the caller asks again.
    NEW_RUN     the next attempt, with the new body.
    RETRY_TASKS KFP's ``:retry`` on the failed run.
    """

    SAME = "SAME"
    ADOPT = "ADOPT"
    CONFLICT = "CONFLICT"
    ZOMBIE = "ZOMBIE"
    WAIT = "WAIT"
    NEW_RUN = "NEW_RUN"
    RETRY_TASKS = "RETRY_TASKS"


def answer_repeat(
    stored: Submission, run: Run, request_digest: str, try_number: int, on_retry: OnRetry
) -> Answer:
    """What a request with a known key gets, from its try and the state of the submission's current run."""
    if try_number < stored.try_number:
        return Answer.ZOMBIE
    if try_number == stored.try_number:
        return Answer.SAME if request_digest == stored.request_digest else Answer.CONFLICT
    if run.phase is RunPhase.ENDED and run.state.is_successful:
        return Answer.ADOPT
    if not run.phase.is_over:
        canceling = run.cancel_requested_at is not None or run.state is RuntimeState.CANCELING
        return Answer.WAIT if canceling else Answer.ADOPT
    if on_retry is OnRetry.RETRY_FAILED_TASKS and run.phase is RunPhase.ENDED:
        return Answer.RETRY_TASKS
    return Answer.NEW_RUN


class ClearAnswer(StrEnum):
    """What a new generation does about the older generation's active run."""

    NEW_RUN = "NEW_RUN"
    CANCEL_THEN_NEW = "CANCEL_THEN_NEW"
    ADOPT = "ADOPT"


def is_superseded(asking: Origin, newest: Submission) -> bool:
    """Whether who asks belongs to an older generation than the family's newest other submission.

    Its task was cleared while its worker was away, and what the newer generation has is not its to end. Only
    what is older in both respects counts: lowering ``retries`` before a clear lowers ``max_tries``, and
    schedulers whose clocks differ start DagRuns out of order.
    """
    if asking.try_number >= newest.try_number:
        return False
    before, after = asking.dag_run_start, newest.origin.dag_run_start
    if before == after:
        return asking.max_tries < newest.origin.max_tries
    return before is not None and after is not None and before < after


def answer_clear(older: Run | None, on_clear: OnClear) -> ClearAnswer:
    """What a first request of a generation gets, given the family's newest other run.

    ``CANCEL_THEN_NEW`` makes the new run at once and sends it only when the older one is over.
    """
    if older is None or older.phase.is_over or on_clear is OnClear.DETACH:
        return ClearAnswer.NEW_RUN
    return ClearAnswer.ADOPT if on_clear is OnClear.ADOPT else ClearAnswer.CANCEL_THEN_NEW
