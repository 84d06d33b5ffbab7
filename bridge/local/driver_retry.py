"""When a failed task is tried again. The rules are those that KFP's compiler leaves to Argo Workflows."""

from __future__ import annotations

from bridge.spec.model import Retry

NO_RETRY = Retry(max_count=0)


class RetriesOver(Exception):
    """The task is not tried again; the message says why where it is not just that all tries are used up."""


def pause_before_next(policy: Retry, failures: int, elapsed_seconds: float) -> float:
    """The seconds to wait before the next attempt, after ``failures`` failed ones.

    ``elapsed_seconds`` counts from the beginning of the first attempt. Raises ``RetriesOver``.
    """
    if failures > policy.max_count:
        raise RetriesOver("")
    try:
        pause = policy.backoff_seconds * float(policy.backoff_factor) ** (failures - 1)
    except OverflowError:
        pause = float("inf")
    if elapsed_seconds + pause > policy.backoff_max_seconds:
        limit = f"{policy.backoff_max_seconds:g} s after the first (backoffMaxDuration)"
        raise RetriesOver(f"It is not tried again: the next attempt would begin later than {limit}.")
    return pause


def inherited(own: Retry | None, outer: Retry | None) -> Retry | None:
    """The policy that counts for a task: its own, else that of the DAG around it.

    KFP repeats no DAG as a whole: a nested pipeline's policy is that of those of its tasks that have none.
    """
    return outer if own is None else own
