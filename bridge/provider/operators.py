"""The operator that runs a compiled Kubeflow pipeline through the bridge."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason
from airflow.sdk.exceptions import AirflowException

from bridge.client.errors import BridgeError
from bridge.client.reference import build_reference
from bridge.provider.conclude import Left, conclude, note_run, noted_run, read_left
from bridge.provider.facets import Seen, on_complete, on_failure, on_start
from bridge.provider.folders import pipeline_folders
from bridge.provider.hooks import DEFAULT_CONN_ID, BridgeSettings, KubeflowBridgeHook
from bridge.provider.inputs import assets_in
from bridge.provider.links import BridgeRunLink, KfpRunLink
from bridge.provider.origin import TaskKey
from bridge.provider.outcome import GateAction, refusal
from bridge.provider.parsing import (
    check_choices,
    check_when_parsed,
    seconds_of,
    source_of,
    templated_names,
)
from bridge.provider.request import build_request
from bridge.provider.triggers import BridgeReadyTrigger, BridgeRunTrigger
from bridge.provider.waiting import Waited
from bridge.provider.worker import WorkerWait

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bridge.client.models import RunModel

# The trigger itself ends with a timeout, promptly; Airflow's own deferral timeout comes after it and
# catches the case in which no triggerer runs.
_DEFERRAL_GRACE_SECONDS = 30.0
# How long a submission may hold a worker's slot while the bridge does not answer.
_SLOT_SECONDS = 30.0


class KubeflowPipelineOperator(BaseOperator):
    """Runs a compiled Kubeflow pipeline and returns a reference to what came out, 32 KiB at most.

    One task instance has one live run, whatever crashes: a retry of the scheduler adopts the run that
    is active, a cleared task does what ``on_clear`` says. See ``docs/provider/operator.md``.

    :param pipeline: a compiled pipeline: a path (relative ones are looked for beside the DAG file, then
        in its bundle and the DAGs folder), a URL or ``ObjectStoragePath``, or a pipeline that the bridge
        knows: ``"name@alias"``, ``{"name": …}`` (its newest version), ``{"name": …, "version": …}``; or,
        where kfp is importable, a function decorated with ``@dsl.pipeline``. Templated, as are all
        parameters down to ``project``.
    :param arguments: values of the pipeline's parameters. What is neither template nor XCom is checked
        against the pipeline when the DAG is parsed; text from a template is read as the declared type.
    :param inputs: the data, by the parameter that takes its URI (or list of URIs): an ``Asset``, a URI or
        path, an XCom reference, ``{"uri": …, "version": …}``, or a list of these.
    :param experiment: KFP experiment; the bridge chooses one if absent.
    :param namespace: KFP namespace of a multi-user backend.
    :param service_account: Kubernetes service account of the run.
    :param pipeline_root: where the run's artifacts are written.
    :param caching: ``True`` or ``False`` for all tasks; ``None`` leaves it to the pipeline.
    :param labels: shown with the run, and searchable.
    :param display_name: the run's name in the UIs.
    :param gate: a CEL expression over the run's metrics, such as ``evaluate.auc >= last_good - 0.01``.
    :param skip_if_unchanged: ``True`` succeeds with the last good run of the pipeline and project if
        nothing changed since: pipeline, arguments, inputs in known versions, gate and backend.
    :param backend: the backend's name; the connection's, then the bridge's own choice if absent.
    :param project: the bridge's project; the connection's if absent.
    :param kfbridge_conn_id: the Airflow connection to the bridge.
    :param wait: ``False`` succeeds as soon as the bridge has the run.
    :param deferrable: wait in the triggerer; ``False`` holds the worker's slot.
    :param on_retry: what a retry gets when its earlier run failed or was cancelled: ``new_run`` or
        ``retry_failed_tasks``.
    :param on_clear: what a cleared task does about the run that is still active: ``cancel_then_new``,
        ``adopt`` or ``detach``.
    :param on_kill: what marking the task failed, success or skipped, and its timeouts, mean for the run:
        ``cancel`` or ``detach``.
    :param gate_action: what a gate that does not pass means: ``fail``, ``skip`` or ``continue``.
    :param timeout: for the run, counted from this try's start; a ``timedelta`` or seconds. The smaller of
        it and ``execution_timeout`` counts; when it is up the run is cancelled and the task fails.
    :param patience_seconds: how long the bridge may be away before the task fails.
    """

    template_fields: Collection[str] = (
        "pipeline",
        "arguments",
        "inputs",
        "experiment",
        "namespace",
        "service_account",
        "pipeline_root",
        "caching",
        "labels",
        "display_name",
        "gate",
        "skip_if_unchanged",
        "backend",
        "project",
        "kfbridge_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "arguments": "json",
        "inputs": "json",
        "labels": "json",
    }
    operator_extra_links: Collection[BaseOperatorLink] = (BridgeRunLink(), KfpRunLink())
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        pipeline: Any,
        arguments: Any = None,
        inputs: Any = None,
        experiment: str | None = None,
        namespace: str | None = None,
        service_account: str | None = None,
        pipeline_root: str | None = None,
        caching: bool | str | None = None,
        labels: Any = None,
        display_name: str | None = None,
        gate: str | None = None,
        skip_if_unchanged: bool | str = False,
        backend: str | None = None,
        project: str | None = None,
        kfbridge_conn_id: str = DEFAULT_CONN_ID,
        wait: bool = True,
        deferrable: bool = True,
        on_retry: str = "new_run",
        on_clear: str = "cancel_then_new",
        on_kill: str = "cancel",
        gate_action: GateAction = "fail",
        timeout: timedelta | float | None = None,
        patience_seconds: float = 3600.0,
        **kwargs: Any,
    ) -> None:
        # As inlets, so that Airflow shows who reads them and hands over their newest events.
        known = assets_in(inputs)
        if known:
            kwargs["inlets"] = [*(kwargs.get("inlets") or []), *known]
        super().__init__(**kwargs)
        self.pipeline: Any = source_of(self, pipeline)
        self.arguments = arguments
        self.inputs = inputs
        self.experiment = experiment
        self.namespace = namespace
        self.service_account = service_account
        self.pipeline_root = pipeline_root
        self.caching = caching
        self.labels = labels
        self.display_name = display_name
        self.gate = gate
        self.skip_if_unchanged = skip_if_unchanged
        self.backend = backend
        self.project = project
        self.kfbridge_conn_id = kfbridge_conn_id
        self.wait = wait
        self.deferrable = deferrable
        # Not under the names of the parameters: ``on_kill`` is the method that Airflow calls.
        self.retry_policy_of_run = on_retry
        self.clear_policy = on_clear
        self.kill_policy = on_kill
        self.gate_action = gate_action
        self.timeout_seconds = seconds_of(timeout)
        self.patience_seconds = float(patience_seconds)
        self.templated_arguments = templated_names(arguments)
        self._waiting: WorkerWait | None = None
        self.seen: Seen | None = None
        check_choices(self)
        check_when_parsed(self)

    def execute(self, context: Context) -> Any:
        """Submits, then waits: here, or deferred."""
        now = time.time()
        return self._submit(context, deadline=self._deadline(now), give_up_at=now + self.patience_seconds)

    def bridge_is_back(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Goes on after waiting for a bridge that was away when the run was to be submitted."""
        if event["ending"] != "over":
            raise AirflowException(
                f"The bridge did not answer for {self.patience_seconds:g} s: {event['message']}"
            )
        return self._submit(context, deadline=event["deadline"], give_up_at=event["give_up_at"])

    def run_ended(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Goes on when the trigger has fired."""
        self._check_event(context, event)
        settings = self._settings()
        if event["ending"] != "over":
            self._not_over(context, settings, Waited(ending=event["ending"], message=event["message"]))
        with settings.client(patience_seconds=_SLOT_SECONDS) as client:
            try:
                run = client.get_run(event["run_id"])
            except BridgeError as error:
                if not error.transient:
                    raise AirflowException(f"The run cannot be read: {error}") from error
                self.log.warning("%s; waiting on.", error)
                self._defer_until_over(context, event["run_id"], event["deadline"])
        return self._go_on(context, settings, run, event["deadline"])

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Entrypoint of a resumed task; a deferral that timed out, or failed for the last time, cancels
        the run, which Airflow itself would leave behind."""
        if next_method == TRIGGER_FAIL_REPR:
            reason = (next_kwargs or {}).get("error")
            timed_out = reason == TriggerFailureReason.TRIGGER_TIMEOUT
            if timed_out or _is_last_try(context):
                self._cancel(context, f"the Airflow task's wait failed: {reason}")
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Cancels the run if nobody will follow it any more. Airflow calls it on a worker only."""
        if self._waiting is not None:
            self._waiting.killed()

    def _check_event(self, context: Context, event: Mapping[str, Any]) -> None:
        """Waits on if the event is of a run that this try does not wait for.

        SQLite gives a deleted trigger's id to the next one, so that a triggerer can take the trigger of a
        task's state before it was cleared for the one that waits now.
        """
        noted = noted_run(context)
        if noted is None or noted.run_id == event["run_id"]:
            return
        self.log.warning(
            "A trigger of run %s has fired, but this try waits for run %s.", event["run_id"], noted.run_id
        )
        self._defer_until_over(context, noted.run_id, self._deadline(context["ti"].start_date.timestamp()))

    def get_openlineage_facets_on_start(self) -> Any:
        """For Airflow's OpenLineage provider: the data that the task names."""
        return on_start(self)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """For Airflow's OpenLineage provider: the data that was read, and the models that were made."""
        return on_complete(self)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        """For Airflow's OpenLineage provider: the data that was read, and nothing as made."""
        return on_failure(self)

    def _submit(self, context: Context, *, deadline: float | None, give_up_at: float) -> Any:
        settings = self._settings()
        request = build_request(self, context, settings, pipeline_folders(self, context["ti"]))
        waiting = self._waiting = WorkerWait(self, context, settings)
        patience = self._patience_here(max(0.0, give_up_at - time.time()))
        with settings.client(patience_seconds=patience) as client:
            try:
                run = client.submit(request, waits=self.wait and self.kill_policy == "cancel")
            except BridgeError as error:
                if not (error.transient and self.deferrable and time.time() < give_up_at):
                    raise refusal(error) from error
                self.log.warning("%s. Waiting for the bridge without a worker's slot.", error)
                self._defer_until_ready(deadline, give_up_at)
            note_run(context, run)
            self.seen = Seen(run)
            self.log.info("The bridge has run %s (KFP run %s, %s).", run.run_id, run.kfp_run_id, run.state)
            for warning in run.warnings:
                self.log.warning("The bridge warns: %s", warning)
            waiting.has_run(run)
            if not self.wait:
                return build_reference(run)
        return self._go_on(context, settings, run, deadline)

    def _go_on(
        self, context: Context, settings: BridgeSettings, run: RunModel, deadline: float | None
    ) -> Any:
        if not run.over:
            if self.deferrable:
                self._defer_until_over(context, str(run.run_id), deadline)
            waiting = self._waiting or WorkerWait(self, context, settings)
            waited = waiting.until_over(run, deadline)
            if waited.run is None:
                self._not_over(context, settings, waited)
            run = waited.run
        return self._conclude(context, run, self._read_left(context, settings, run, deadline))

    def _conclude(self, context: Context, run: RunModel, left: Left) -> dict[str, Any]:
        return conclude(self, context, run, left)

    def _read_left(
        self, context: Context, settings: BridgeSettings, run: RunModel, deadline: float | None
    ) -> Left:
        with settings.client(patience_seconds=self._patience_here(self.patience_seconds)) as client:
            try:
                return read_left(client, run)
            except BridgeError as error:
                lost = time.time() > (run.finished_at or run.created_at).timestamp() + self.patience_seconds
                if lost or not (error.transient and self.deferrable):
                    raise AirflowException(f"What the run left cannot be read: {error}") from error
                self.log.warning("%s. Waiting for the bridge without a worker's slot.", error)
                self._defer_until_over(context, str(run.run_id), deadline)

    def _patience_here(self, seconds: float) -> float:
        """How long to be patient on a worker: a deferrable task waits elsewhere."""
        return min(seconds, _SLOT_SECONDS) if self.deferrable else seconds

    def _not_over(self, context: Context, settings: BridgeSettings, waited: Waited) -> NoReturn:
        if waited.ending == "timeout":
            self._cancel(context, "the Airflow task's time for the run was up", settings)
            raise AirflowException(
                "The time for the run is up; the run was cancelled or left as on_kill says."
            )
        if waited.ending == "away":
            raise AirflowException(
                f"The bridge was away for {self.patience_seconds:g} s; the run goes on: {waited.message}"
            )
        raise AirflowException(f"The bridge does not tell of the run: {waited.message}")

    def _cancel(self, context: Context, reason: str, settings: BridgeSettings | None = None) -> None:
        noted = noted_run(context)
        if noted is None:
            self.log.warning("No run was noted for this task; there is nothing to cancel.")
            return
        waiting = WorkerWait(self, context, settings or self._settings())
        waiting.behalf = noted
        waiting.cancel(reason)

    def _defer_until_over(self, context: Context, run_id: str, deadline: float | None) -> NoReturn:
        noted = noted_run(context)
        grace = None if deadline is None else max(1.0, deadline - time.time()) + _DEFERRAL_GRACE_SECONDS
        self._leave_no_links_to_push()
        self.defer(
            trigger=BridgeRunTrigger(
                run_id=run_id,
                kfbridge_conn_id=self.kfbridge_conn_id,
                task=asdict(TaskKey.from_context(context)),
                submission_key=noted.submission_key if noted else None,
                try_number=noted.try_number if noted else context["ti"].try_number,
                patience_seconds=self.patience_seconds,
                deadline=deadline,
                kill_policy=self.kill_policy,
                deferred_at=time.time(),
            ),
            method_name="run_ended",
            timeout=None if grace is None else timedelta(seconds=grace),
        )

    def _defer_until_ready(self, deadline: float | None, give_up_at: float) -> NoReturn:
        self._leave_no_links_to_push()
        self.defer(
            trigger=BridgeReadyTrigger(
                kfbridge_conn_id=self.kfbridge_conn_id,
                give_up_at=give_up_at,
                deadline=deadline,
                deferred_at=time.time(),
            ),
            method_name="bridge_is_back",
        )

    def _leave_no_links_to_push(self) -> None:
        """Airflow pushes the links of a task that has deferred already; ``note_run`` has pushed them before.

        The sooner the worker is gone, the less likely is what ``shortest_deferral_seconds`` guards against.
        """
        self.operator_extra_links = ()

    def _deadline(self, now: float) -> float | None:
        """When the run's time is up; on a worker Airflow itself enforces ``execution_timeout``."""
        limits = [self.timeout_seconds]
        if self.deferrable and self.execution_timeout is not None:
            limits.append(self.execution_timeout.total_seconds())
        known = [limit for limit in limits if limit is not None]
        return now + min(known) if known else None

    def _settings(self) -> BridgeSettings:
        return KubeflowBridgeHook(self.kfbridge_conn_id).get_settings()


def _is_last_try(context: Context) -> bool:
    ti = context["ti"]
    return bool(ti.try_number > ti.max_tries)
