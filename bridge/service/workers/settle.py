"""Ends the wait for a run: its gate is judged, and whoever waits is told."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from bridge.domain.lineage import GateVerdict, Run, RunError
from bridge.domain.states import MirrorState, RuntimeState
from bridge.lineage import mirror as mirrors
from bridge.lineage import runs, submissions
from bridge.lineage.records import Fence
from bridge.service.gates import LastGood, judge


def settle(
    session: Session,
    run: Run,
    *,
    mirror: MirrorState,
    error: RunError | None,
    now: datetime,
    fence: Fence | None,
    look_at_content: bool = False,
) -> Run:
    """Write the run's verdict and that nobody needs to wait any longer, in the caller's transaction.

    ``look_at_content``: it has artifacts of which it can be seen whether they are there.
    """
    if look_at_content:
        runs.change_run(session, run.run_id, content_due_at=now, content_failures=0)
    return runs.change_run(
        session,
        run.run_id,
        fence=fence,
        event="run.settled",
        mirror=mirror,
        error=error,
        gate=verdict(session, run),
        settled_at=run.settled_at or now,
    )


def verdict(session: Session, run: Run) -> GateVerdict | None:
    """What the gate of the run's submission says of what is mirrored; ``None`` without a gate."""
    key = run.submission_key
    gate = submissions.gates_of(session, [key]).get(key) if key else None
    if gate is None:
        return None
    if run.state is not RuntimeState.SUCCEEDED:
        reason = f"the run ended {run.state.value}"
        return GateVerdict(expression=gate, passed=None, numbers={}, reason=reason)
    # Steps come in order, so the last one of a key is what the gate sees.
    metrics = {metric.key: metric.value for metric in mirrors.metrics_of(session, run.run_id)}
    return judge(gate, metrics, last_good(session, run))


def unjudged(session: Session, run: Run) -> GateVerdict | None:
    """The verdict of a run whose mirror was set aside; ``None`` without a gate."""
    key = run.submission_key
    submission = submissions.find_submission(session, key) if key else None
    if submission is None or submission.gate is None:
        return None
    reason = "the run's metrics could not be read (its mirror is set aside)"
    return GateVerdict(expression=submission.gate, passed=None, numbers={}, reason=reason)


def last_good(session: Session, run: Run) -> LastGood | None:
    """The newest other good run of the run's pipeline and project, with its metrics."""
    found = runs.last_good_run(session, run.project, run.pipeline.name, excluding=run.run_id)
    if found is None:
        return None
    good, metrics = found
    return LastGood(good.run_id, {metric.key: metric.value for metric in metrics})
