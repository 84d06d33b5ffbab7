"""The sensor that waits for a run which somebody else asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowException

from bridge.client.errors import BridgeError
from bridge.client.reference import build_reference
from bridge.provider.compat import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from bridge.provider.conclude import note_run, read_left
from bridge.provider.hooks import DEFAULT_CONN_ID, BridgeSettings, KubeflowBridgeHook
from bridge.provider.links import BridgeRunLink, KfpRunLink
from bridge.provider.outcome import failure, failure_lines
from bridge.provider.request import text_of
from bridge.provider.sensing import BridgeSensorTrigger, Wanted, wait_for_wanted
from bridge.provider.waiting import Waited

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bridge.client.models import RunModel

Expect = Literal["succeeded", "good", "over"]
_EXPECT = ("succeeded", "good", "over")
_DEFERRAL_GRACE_SECONDS = 30.0
_SLOT_SECONDS = 30.0
# How long one look of a sensor that is rescheduled may hold its slot.
_LOOK_SECONDS = 10.0


class KubeflowPipelineSensor(BaseSensorOperator):
    """Waits for a run that something else started, and returns the same reference as the operator.

    Which run: the one with ``run_id``, else the newest that has everything that is named, whoever
    started it. While there is none the sensor looks every ``poke_interval`` seconds; a run that goes on
    is waited for without asking again and again. Nothing that happens to the sensor cancels the run.

    :param run_id: the bridge's id of a run, such as the XCom ``run_id`` of an operator. Templated, as
        are all parameters down to ``kfbridge_conn_id``.
    :param pipeline: the name of the run's pipeline.
    :param external_dag_id: the DAG whose task asked for the run,
    :param external_dag_run_id: its DagRun,
    :param external_task_id: the task, and
    :param external_map_index: which of a mapped task's instances.
    :param created_after: only runs that were asked for at this moment or later; a datetime or ISO 8601 text.
        Without it a run of last week is the newest one until the next is there.
    :param project: the bridge's project; the connection's if absent.
    :param backend: the backend's name; any if absent.
    :param kfbridge_conn_id: the Airflow connection to the bridge.
    :param expect: ``succeeded``; ``good``, which also wants the run's gate passed; or ``over``, however
        it ended. A run that ends otherwise fails the sensor.
    :param deferrable: wait in the triggerer. ``False`` holds the worker's slot, or with
        ``mode="reschedule"`` takes one for each look.
    :param patience_seconds: how long the bridge may be away before the sensor fails.
    """

    template_fields: Collection[str] = (
        "run_id",
        "pipeline",
        "external_dag_id",
        "external_dag_run_id",
        "external_task_id",
        "external_map_index",
        "created_after",
        "project",
        "backend",
        "kfbridge_conn_id",
    )
    operator_extra_links = (BridgeRunLink(), KfpRunLink())
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        run_id: Any = None,
        pipeline: str | None = None,
        external_dag_id: str | None = None,
        external_dag_run_id: str | None = None,
        external_task_id: str | None = None,
        external_map_index: int | str | None = None,
        created_after: Any = None,
        project: str | None = None,
        backend: str | None = None,
        kfbridge_conn_id: str = DEFAULT_CONN_ID,
        expect: Expect = "succeeded",
        deferrable: bool = True,
        patience_seconds: float = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_id = run_id
        self.pipeline = pipeline
        self.external_dag_id = external_dag_id
        self.external_dag_run_id = external_dag_run_id
        self.external_task_id = external_task_id
        self.external_map_index = external_map_index
        self.created_after = created_after
        self.project = project
        self.backend = backend
        self.kfbridge_conn_id = kfbridge_conn_id
        self.expect = expect
        self.deferrable = deferrable
        self.patience_seconds = float(patience_seconds)
        if expect not in _EXPECT:
            raise ValueError(f"sensor {self.task_id!r}: expect is {expect!r}; it is one of {_EXPECT}")
        if all(given is None for given in (run_id, pipeline, external_dag_id)):
            raise ValueError(
                f"sensor {self.task_id!r} has to be told which run to wait for: give run_id, pipeline or "
                "external_dag_id"
            )

    def execute(self, context: Context) -> Any:
        """Waits: deferred, on the worker, or with Airflow's rescheduling."""
        deadline = time.time() + self.timeout
        if self.deferrable:
            self._defer(self._wanted(), deadline)
        if self.reschedule:
            return super().execute(context)
        try:
            return self._ended(context, asyncio.run(self._wait(deadline, self.patience_seconds)), deadline)
        except AirflowException as error:
            self._softly(error)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """One look, as ``mode="reschedule"`` takes it; the sensor's own timeout bounds an outage."""
        waited = asyncio.run(self._wait(time.time() + _LOOK_SECONDS, self.timeout))
        if waited.ending == "timeout":
            return False
        return PokeReturnValue(is_done=True, xcom_value=self._ended(context, waited, None))

    def run_ended(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Goes on when the trigger has fired."""
        deadline = event["deadline"]
        if event["ending"] != "over":
            return self._ended(context, Waited(ending=event["ending"], message=event["message"]), deadline)
        with self._settings().client(patience_seconds=_SLOT_SECONDS) as client:
            try:
                run = client.get_run(event["run_id"])
            except BridgeError as error:
                self._again(error, Wanted(run_id=event["run_id"]), deadline)
        return self._ended(context, Waited(ending="over", run=run), deadline)

    def _ended(self, context: Context, waited: Waited, deadline: float | None) -> Any:
        if waited.ending == "timeout":
            raise AirflowSensorTimeout(waited.message)
        if waited.run is None:
            raise AirflowException(f"The run cannot be waited for: {waited.message}")
        note_run(context, waited.run)
        self._judge(waited.run)
        patience = _SLOT_SECONDS if self.deferrable else self.patience_seconds
        with self._settings().client(patience_seconds=patience) as client:
            try:
                left = read_left(client, waited.run)
            except BridgeError as error:
                self._again(error, Wanted(run_id=str(waited.run.run_id)), deadline)
        self.log.info(
            "KFP run %s of %s: %s", waited.run.kfp_run_id, waited.run.pipeline.name, waited.run.state
        )
        return build_reference(waited.run, left.tasks, left.artifacts, left.metrics)

    def _judge(self, run: RunModel) -> None:
        problem = None if self.expect == "over" else failure(run)
        if problem is not None:
            for line in failure_lines(run):
                self.log.error("%s", line)
            raise problem
        if self.expect == "good" and not run.good:
            reason = run.gate.reason if run.gate is not None else "it is not good"
            raise AirflowException(f"KFP run {run.kfp_run_id} succeeded, but: {reason}")

    def _again(self, error: BridgeError, wanted: Wanted, deadline: float | None) -> NoReturn:
        """Waits on where an answer is missing only because the bridge is away."""
        if not (error.transient and self.deferrable):
            raise AirflowException(f"The run cannot be read: {error}") from error
        self.log.warning("%s. Waiting for the bridge without a worker's slot.", error)
        self._defer(wanted, deadline)

    def _softly(self, error: AirflowException) -> NoReturn:
        if (self.soft_fail or self.never_fail) and not isinstance(error, AirflowSkipException):
            raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
        raise error

    def _defer(self, wanted: Wanted, deadline: float | None) -> NoReturn:
        left = None if deadline is None else max(1.0, deadline - time.time()) + _DEFERRAL_GRACE_SECONDS
        self.defer(
            trigger=BridgeSensorTrigger(
                wanted=wanted.filters(),
                kfbridge_conn_id=self.kfbridge_conn_id,
                look_seconds=self.poke_interval,
                patience_seconds=self.patience_seconds,
                deadline=deadline,
                deferred_at=time.time(),
            ),
            method_name="run_ended",
            timeout=None if left is None else timedelta(seconds=left),
        )

    async def _wait(self, deadline: float, patience_seconds: float) -> Waited:
        async with self._settings().async_client(patience_seconds=0) as client:
            return await wait_for_wanted(
                client,
                self._wanted(),
                look_seconds=self.poke_interval,
                patience_seconds=patience_seconds,
                deadline=deadline,
                tell=self.log.info,
            )

    def _wanted(self) -> Wanted:
        run_id = text_of(self.run_id)
        if run_id is not None:
            return Wanted(run_id=run_id)
        if self.run_id is not None:
            raise AirflowFailException("run_id renders to nothing: has the task that pushes it run?")
        moment = self.created_after
        index = text_of(self.external_map_index)
        return Wanted(
            pipeline=text_of(self.pipeline),
            dag_id=text_of(self.external_dag_id),
            dag_run_id=text_of(self.external_dag_run_id),
            task_id=text_of(self.external_task_id),
            map_index=None if index is None else int(index),
            project=text_of(self.project) or self._settings().project,
            backend=text_of(self.backend),
            created_after=moment.isoformat() if hasattr(moment, "isoformat") else text_of(moment),
        )

    def _settings(self) -> BridgeSettings:
        return KubeflowBridgeHook(self.kfbridge_conn_id).get_settings()
