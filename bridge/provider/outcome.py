"""What a run's end means for the Airflow task: success, failure with its cause, or the gate's verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from airflow.sdk.exceptions import AirflowException

from bridge.client.errors import BridgeError, BridgeUnauthorized, ProblemError
from bridge.domain.states import RunPhase, parse_state
from bridge.provider.compat import AirflowFailException, AirflowSkipException
from bridge.provider.waiting import may_pass

if TYPE_CHECKING:
    from bridge.client.models import CauseModel, GateModel, RunModel

GateAction = Literal["fail", "skip", "continue"]


def failure_lines(run: RunModel) -> list[str]:
    """What an engineer wants in the task's log of a run that failed: component, cause, last log lines."""
    error = run.error
    if error is None:
        return [f"KFP run {run.kfp_run_id} ended {run.state}; the backend gave no reason."]
    lines = [f"KFP run {run.kfp_run_id} ended {run.state}: {error.message}"]
    if error.task:
        lines.append(f"The component that failed is {error.task!r}.")
    if run.causes:
        lines.append("Likely causes, the likeliest first:")
        lines += [f"  {_cause(cause)}" for cause in run.causes]
    if error.log_tail:
        lines.append(f"The last {len(error.log_tail)} lines of its log:")
        lines += [f"  | {line}" for line in error.log_tail]
    if run.links.bridge:
        lines.append(f"More at {run.links.bridge}")
    return lines


def failure(run: RunModel) -> AirflowException | None:
    """The exception for a run that is over and did not succeed, ``None`` for one that did.

    What the backend refused for good is not tried again; everything else keeps the task's retries.
    """
    if parse_state(run.state).is_successful:
        return None
    sentence = _sentence(run)
    if run.phase == RunPhase.REJECTED:
        return AirflowFailException(f"The backend {run.backend!r} refused the run: {sentence}")
    if run.phase == RunPhase.LOST:
        return AirflowException(f"KFP run {run.kfp_run_id} was deleted at the backend: {sentence}")
    return AirflowException(f"KFP run {run.kfp_run_id} of {run.pipeline.name} ended {run.state}: {sentence}")


def gate_exception(gate: GateModel | None, action: GateAction) -> AirflowException | None:
    """The exception for a gate that did not pass, as ``gate_action`` says; ``None`` to go on.

    A gate that could not be judged has not passed. The run succeeded and would be handed out again,
    so a retry cannot change the verdict.
    """
    if gate is None or gate.passed or action == "continue":
        return None
    verdict = "did not pass" if gate.passed is False else "could not be judged"
    sentence = f"The gate {gate.expression!r} {verdict}: {gate.reason}"
    return AirflowSkipException(sentence) if action == "skip" else AirflowFailException(sentence)


def refusal(error: BridgeError) -> AirflowException:
    """The exception for a submission that the bridge did not take.

    A request that is wrong, or made by a superseded try, fails the task at once; what may be put
    right meanwhile (the bridge away, a token being rotated, its name unknown to it) keeps the task's retries.
    """
    if isinstance(error, ProblemError) and not may_pass(error):
        listed = "".join(f"\n  - {field.pointer}: {field.detail}" for field in error.errors)
        detail = error.problem.detail or error.problem.title
        return AirflowFailException(f"The bridge refused the run ({error.slug}): {detail}{listed}")
    if isinstance(error, BridgeUnauthorized):
        return AirflowException(f"{error}. Its token is the password of the Airflow connection.")
    return AirflowException(f"The run could not be submitted: {error}")


def _sentence(run: RunModel) -> str:
    """Why, in a sentence: the likeliest cause, which tells the line where there is one, else the error."""
    if run.error is None:
        return "cancelled" if run.cancel_requested_at else "no reason was given"
    first = run.causes[0] if run.causes else None
    task, message = run.error.task, run.error.message
    if first is not None and not first.waiting:
        task, message = first.task or task, first.message
    where = f"component {task!r}: " if task else ""
    return f"{where}{message}"


def _cause(cause: CauseModel) -> str:
    where = f" of {cause.task!r}" if cause.task else ""
    return f"{cause.kind}{where}: {cause.message}"
