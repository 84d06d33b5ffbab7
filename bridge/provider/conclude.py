"""What the operator leaves in Airflow: an early note of the run, and at its end what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.client.reference import build_reference
from bridge.provider.compat import BaseXCom
from bridge.provider.facets import Seen
from bridge.provider.killing import OnBehalf
from bridge.provider.links import RUN_XCOM_KEY, BridgeRunLink, KfpRunLink
from bridge.provider.origin import TaskKey
from bridge.provider.outcome import failure, failure_lines, gate_exception
from bridge.provider.outlets import run_facts, tell_outlets

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bridge.client.models import ArtifactModel, MetricModel, RunModel, TaskModel
    from bridge.client.sync import BridgeClient
    from bridge.provider.operators import KubeflowPipelineOperator


def note_run(context: Context, run: RunModel, *, try_number: int | None = None) -> None:
    """Pushes what is known of the run as XComs, so that links and readers need not wait for its end.

    ``try_number`` is the try that asked for the run, if it was not this task's own.
    """
    ti = context["ti"]
    urls = run.links.model_dump(exclude_none=True)
    ti.xcom_push(key="run_id", value=str(run.run_id))
    ti.xcom_push(
        key=RUN_XCOM_KEY,
        value={
            "run_id": str(run.run_id),
            "kfp_run_id": str(run.kfp_run_id),
            "submission_key": None if run.submission_key is None else str(run.submission_key),
            "try_number": ti.try_number if try_number is None else try_number,
            "urls": urls,
            **(
                {}
                if run.error is None
                else {"error": run.error.model_dump(include={"message", "kind", "task"})}
            ),
        },
    )
    # Airflow itself stores links only when the task leaves the worker, which a blocking task does last.
    for link, which in ((BridgeRunLink(), "bridge"), (KfpRunLink(), "kfp")):
        if which in urls:
            ti.xcom_push(key=link.xcom_key, value=urls[which])


def noted_run(context: Context) -> OnBehalf | None:
    """The run that this try has noted, and on whose behalf it may be cancelled."""
    from airflow.sdk.execution_time.xcom import XCom

    noted = XCom.get_value(ti_key=context["ti"], key=RUN_XCOM_KEY)
    if not isinstance(noted, dict):
        return None
    return OnBehalf(
        run_id=noted["run_id"], submission_key=noted["submission_key"], try_number=noted["try_number"]
    )


@dataclass(frozen=True, slots=True)
class Left:
    """What a run left behind, as far as the operator tells of it."""

    tasks: Sequence[TaskModel] = ()
    artifacts: Sequence[ArtifactModel] = ()
    metrics: Sequence[MetricModel] = ()


def made_elsewhere(context: Context, run: RunModel) -> bool:
    """Whether the run was made for another task instance, as with ``skip_if_unchanged``."""
    made_for = run.origin
    instance = (made_for.dag_id, made_for.dag_run_id, made_for.task_id, made_for.map_index)
    here = TaskKey.from_context(context)
    started = context["dag_run"].start_date
    return instance != (here.dag_id, here.dag_run_id, here.task_id, here.map_index) or (
        made_for.dag_run_start is not None and made_for.dag_run_start != started
    )


def read_left(client: BridgeClient, run: RunModel) -> Left:
    """What the run left, asked of the bridge. Raises ``BridgeError``."""
    scalars = client.metrics(run.run_id).scalars
    return Left(client.tasks(run.run_id), client.artifacts(run.run_id), scalars)


def conclude(task: KubeflowPipelineOperator, context: Context, run: RunModel, left: Left) -> dict[str, Any]:
    """The reference of a run that is over, with asset events told and links brought up to date.

    Raises what the run's end means for the task otherwise; the reference is pushed before.
    """
    note_run(context, run)
    task.seen = Seen(run)
    reference = build_reference(run, left.tasks, left.artifacts, left.metrics)
    problem = failure(run)
    if problem is not None:
        for line in failure_lines(run):
            task.log.error("%s", line)
        _push(task, context, reference)
        raise problem
    _tell_end(task, run, reference)
    gate = gate_exception(run.gate, task.gate_action)
    if gate is not None:
        _push(task, context, reference)
        raise gate
    unchanged = made_elsewhere(context, run)
    tell_outlets(context, run_facts(run, left.artifacts, left.metrics, unchanged=unchanged))
    task.seen = Seen(run, () if unchanged else left.artifacts)
    return reference


def _push(task: KubeflowPipelineOperator, context: Context, reference: dict[str, Any]) -> None:
    """Pushes the reference as the task's result, which Airflow does only for a task that succeeds."""
    if task.do_xcom_push:
        context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=reference)


def _tell_end(task: KubeflowPipelineOperator, run: RunModel, reference: dict[str, Any]) -> None:
    task.log.info("KFP run %s of %s: %s", run.kfp_run_id, run.pipeline.name, run.state)
    for key, value in reference["metrics"].items():
        task.log.info("  %s = %s", key, value)
    for key, artifact in reference["artifacts"].items():
        if artifact["type"] == "system.Model":
            task.log.info("  %s: %s", key, artifact["uri"])
    if run.gate is not None:
        task.log.info("Gate %r passed: %s (%s)", run.gate.expression, run.gate.passed, run.gate.reason)
    if run.links.bridge:
        task.log.info("More at %s", run.links.bridge)
