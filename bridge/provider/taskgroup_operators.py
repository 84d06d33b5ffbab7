"""The tasks of a ``KubeflowPipelineTaskGroup`` that follow its ``submit`` task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

from bridge.client.errors import BridgeError, ProblemError
from bridge.domain.states import RunPhase, parse_state
from bridge.provider.compat import (
    AirflowFailException,
    AirflowSkipException,
    BaseXCom,
    keep_for_next_try,
    kept_by_last_try,
)
from bridge.provider.conclude import Left, note_run
from bridge.provider.hooks import BridgeSettings, KubeflowBridgeHook
from bridge.provider.links import RUN_XCOM_KEY, BridgeRunLink, KfpRunLink
from bridge.provider.operators import KubeflowPipelineOperator
from bridge.provider.outcome import failure
from bridge.provider.taskgroup_reference import log_tail, task_reference
from bridge.provider.taskgroup_verdict import Judged, RunTasks, Verdict, Wanted, judge

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bridge.client.models import RunModel
    from bridge.client.sync import BridgeClient
    from bridge.provider.task_waiting import TaskWaited

_SLOT_SECONDS = 30.0
# Airflow's own deferral timeout comes after the trigger's, for when no triggerer runs.
_DEFERRAL_GRACE_SECONDS = 30.0
_SEEN_KEY = "kfbridge_seen_life"


class KubeflowTaskOperator(BaseOperator):
    """Shows one task of a pipeline run that a sibling task has submitted; runs nothing itself.

    A try after the first retries the failed tasks of a run that is over and failed, once for all
    siblings. Being killed means nothing for the run.

    :param submit_task_id: the task that submits the run.
    :param path: the task's path in the pipeline, such as ``exit-handler-1.train``.
    :param loop: whether it is a loop, which is shown as one task.
    :param kfp_retries: how often KFP itself tries the task again.
    :param kfbridge_conn_id: the Airflow connection to the bridge.
    :param deferrable: wait in the triggerer; ``False`` holds the worker's slot.
    :param timeout_seconds: for the run, counted from its submission; in a later try from that try's start.
    :param patience_seconds: how long the bridge may be away before the task fails.
    """

    template_fields: Collection[str] = ("kfbridge_conn_id",)
    operator_extra_links = (BridgeRunLink(), KfpRunLink())
    ui_color = "#f3f8ff"

    def __init__(
        self,
        *,
        submit_task_id: str,
        path: str,
        loop: bool = False,
        kfp_retries: int = 0,
        kfbridge_conn_id: str,
        deferrable: bool = True,
        timeout_seconds: float | None = None,
        patience_seconds: float = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.submit_task_id = submit_task_id
        self.path = path
        self.loop = loop
        self.kfp_retries = kfp_retries
        self.kfbridge_conn_id = kfbridge_conn_id
        self.deferrable = deferrable
        self.timeout_seconds = timeout_seconds
        self.patience_seconds = patience_seconds

    def execute(self, context: Context) -> Any:
        """Looks at the task now, then waits for its end: here, or deferred."""
        run_id = submitted(context, self.submit_task_id)["run_id"]
        return self._go_on(context, run_id, deadline=None, revived=False)

    def task_ended(self, context: Context, event: dict[str, Any]) -> Any:
        """Goes on when the trigger has fired."""
        if event["ending"] != "judged":
            self._not_judged(event["ending"], event["message"])
        return self._go_on(context, event["run_id"], deadline=event["deadline"], revived=event["revived"])

    def _go_on(self, context: Context, run_id: str, *, deadline: float | None, revived: bool) -> Any:
        settings = KubeflowBridgeHook(self.kfbridge_conn_id).get_settings()
        wanted = Wanted(
            path=self.path, loop=self.loop, retries=self.kfp_retries, again=context["ti"].try_number > 1
        )
        version = 0
        known: float | None = None
        while True:
            try:
                with settings.client(patience_seconds=self._patience_here()) as client:
                    run = client.get_run(run_id)
                    deadline = deadline or self._deadline(context, run)
                    note_run(context, run)
                    tasks = RunTasks(client.tasks(run_id))
                    judged = judge(run, tasks, wanted)
                    if judged.verdict is Verdict.FAIL and wanted.again and not revived:
                        revived = True
                        run = self._revive(context, client, run)
                        version = run.version
                        judged = judged if run.over else Judged(Verdict.WAIT)
                    if judged.verdict is not Verdict.WAIT:
                        ended_at = judged.task.finished_at if judged.task else run.finished_at
                        known = (ended_at or run.created_at).timestamp()
                        return self._conclude(context, client, run, tasks, judged)
            except BridgeError as error:
                lost = known is not None and time.time() > known + self.patience_seconds
                if lost or not (error.transient and self.deferrable):
                    raise AirflowException(f"The task cannot be followed: {error}") from error
                self.log.warning("%s. Waiting for the bridge without a worker's slot.", error)
            if self.deferrable:
                self._defer(run_id, wanted, deadline, version, revived)
            waited = asyncio.run(self._wait_here(settings, run_id, wanted, deadline, version))
            if waited.ending != "judged":
                self._not_judged(waited.ending, waited.message)

    def _revive(self, context: Context, client: BridgeClient, run: RunModel) -> RunModel:
        """The run after its failed tasks are retried, or as it is if a sibling has seen to that since
        this task's last try."""
        if run.phase != RunPhase.ENDED or not run.over:
            return run
        seen = kept_by_last_try(context, _SEEN_KEY)
        if isinstance(seen, dict) and seen.get("run_id") == str(run.run_id) and seen["life"] < run.revivals:
            self.log.info("The run was retried since this task's last try, and ended %s again.", run.state)
            return run
        try:
            run = client.retry(run.run_id)
        except ProblemError as error:
            if error.slug != "not-retryable":
                raise
            # A sibling was faster.
            run = client.get_run(run.run_id)
        self.log.info("The failed tasks of KFP run %s are retried (retry %d).", run.kfp_run_id, run.revivals)
        return run

    def _conclude(
        self, context: Context, client: BridgeClient, run: RunModel, tasks: RunTasks, judged: Judged
    ) -> Any:
        if judged.verdict is Verdict.SKIP:
            raise AirflowSkipException(f"{judged.reason}.")
        reference = task_reference(client, run, tasks, self.path, loop=self.loop, task=judged.task)
        self._tell(reference, judged)
        if judged.verdict is Verdict.SUCCESS:
            return reference
        if self.do_xcom_push:
            context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=reference)
        keep_for_next_try(context, _SEEN_KEY, {"run_id": str(run.run_id), "life": run.revivals})
        tail = log_tail(client, run, tasks, self.path, loop=self.loop)
        if tail:
            self.log.error("The last %d lines of its log:", len(tail))
        for line in tail:
            self.log.error("  | %s", line)
        if run.over and run.phase != RunPhase.ENDED:
            raise AirflowFailException(f"{judged.reason}. {failure(run)}")
        raise AirflowException(judged.reason)

    def _tell(self, reference: dict[str, Any], judged: Judged) -> None:
        note = " (cached)" if judged.task is not None and judged.task.cached else ""
        self.log.info("KFP task %s: %s%s", self.path, reference["state"], note)
        for item in reference.get("iterations", ()):
            self.log.info("  [%s]: %s%s", item["iteration"], item["state"], " (cached)" * item["cached"])
        for key, value in reference["metrics"].items():
            self.log.info("  %s = %s", key, value)
        if judged.verdict is Verdict.SUCCESS and judged.reason:
            self.log.warning("%s.", judged.reason)

    def _not_judged(self, ending: str, message: str) -> NoReturn:
        if ending == "timeout":
            raise AirflowFailException(f"The time is up before KFP task {self.path!r} ended.")
        if ending == "away":
            raise AirflowException(
                f"The bridge was away for {self.patience_seconds:g} s; the run goes on: {message}"
            )
        raise AirflowException(f"The bridge does not tell of the run: {message}")

    def _defer(
        self, run_id: str, wanted: Wanted, deadline: float | None, version: int, revived: bool
    ) -> NoReturn:
        from bridge.provider.taskgroup_trigger import KubeflowTaskTrigger

        grace = None if deadline is None else max(1.0, deadline - time.time()) + _DEFERRAL_GRACE_SECONDS
        self.defer(
            trigger=KubeflowTaskTrigger(
                run_id=run_id,
                kfbridge_conn_id=self.kfbridge_conn_id,
                path=wanted.path,
                loop=wanted.loop,
                retries=wanted.retries,
                again=wanted.again,
                at_least_version=version,
                revived=revived,
                patience_seconds=self.patience_seconds,
                deadline=deadline,
                deferred_at=time.time(),
            ),
            method_name="task_ended",
            timeout=None if grace is None else timedelta(seconds=grace),
        )

    async def _wait_here(
        self, settings: BridgeSettings, run_id: str, wanted: Wanted, deadline: float | None, version: int
    ) -> TaskWaited:
        from bridge.provider.task_waiting import wait_for_task

        return await wait_for_task(
            lambda: settings.async_client(patience_seconds=0),
            run_id,
            wanted,
            shared_by=settings,
            patience_seconds=self.patience_seconds,
            deadline=deadline,
            at_least_version=version,
            tell=self.log.info,
        )

    def _deadline(self, context: Context, run: RunModel) -> float | None:
        now = time.time()
        limits = []
        if self.timeout_seconds is not None:
            first = context["ti"].try_number <= 1
            limits.append((run.created_at.timestamp() if first else now) + self.timeout_seconds)
        if self.deferrable and self.execution_timeout is not None:
            limits.append(now + self.execution_timeout.total_seconds())
        return min(limits, default=None)

    def _patience_here(self) -> float:
        return min(self.patience_seconds, _SLOT_SECONDS) if self.deferrable else self.patience_seconds


class TasksDoneOperator(BaseOperator):
    """Succeeds when all tasks of the pipeline have ended, in whatever way; no worker runs it.

    ``finish`` stands behind it and behind ``submit``: so it concludes a run that failed, and is
    ``upstream_failed`` where there is no run.
    """

    inherits_from_empty_operator = True
    ui_color = "#eeeeee"

    def execute(self, context: Context) -> None:
        """Nothing; only ``dag.test()`` calls it."""


class FinishPipelineOperator(KubeflowPipelineOperator):
    """Waits for the end of the run that ``submit`` made, judges gate and outlets, and returns the
    run's reference, as ``KubeflowPipelineOperator`` does for a run of its own.

    ``timeout`` counts from the submission, in a later try from that try's start. A run that failed
    fails it without retries: those belong to the tasks of the pipeline.
    """

    def __init__(self, *, submit_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.submit_task_id = submit_task_id

    def execute(self, context: Context) -> Any:
        """Waits for the run that was submitted: here, or deferred."""
        from bridge.provider.killing import OnBehalf
        from bridge.provider.worker import WorkerWait

        noted = submitted(context, self.submit_task_id)
        settings = self._settings()
        with settings.client(patience_seconds=self._patience_here(self.patience_seconds)) as client:
            try:
                run = client.get_run(noted["run_id"])
            except BridgeError as error:
                if not (error.transient and self.deferrable):
                    raise AirflowException(f"The run cannot be read: {error}") from error
                self.log.warning("%s. Waiting for the bridge without a worker's slot.", error)
                context["ti"].xcom_push(key=RUN_XCOM_KEY, value=noted)
                self._defer_until_over(context, noted["run_id"], self._deadline(time.time()))
        note_run(context, run, try_number=noted["try_number"])
        self._waiting = WorkerWait(self, context, settings)
        # The bridge knows the run by the try of the task that submitted it.
        self._waiting.behalf = OnBehalf(
            run_id=noted["run_id"], submission_key=noted["submission_key"], try_number=noted["try_number"]
        )
        first = context["ti"].try_number <= 1
        since = run.created_at if first else datetime.now(UTC)
        return self._go_on(context, settings, run, self._deadline(since.timestamp()))

    def _conclude(self, context: Context, run: RunModel, left: Left) -> dict[str, Any]:
        try:
            return super()._conclude(context, run, left)
        except AirflowException as error:
            if parse_state(run.state).is_successful:
                raise
            raise AirflowFailException(str(error)) from error


def submitted(context: Context, submit_task_id: str) -> dict[str, Any]:
    """What ``submit`` noted of its run. Raises ``AirflowSkipException`` if it made none: it was skipped,
    or it failed and this task runs whichever way what is before it ended."""
    noted = context["ti"].xcom_pull(task_ids=submit_task_id, key=RUN_XCOM_KEY)
    if not isinstance(noted, dict):
        raise AirflowSkipException(f"there is no run: task {submit_task_id!r} has submitted none.")
    return noted
