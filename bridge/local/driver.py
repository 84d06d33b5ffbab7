"""Executes one run of a compiled pipeline, from its root DAG to its outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from bridge.domain.states import RuntimeState
from bridge.local.artifacts import PipelineRootError, artifact_root
from bridge.local.driver_dag import run_dag
from bridge.local.driver_inputs import InputError, fit_to_component
from bridge.local.driver_scope import Deadline, Inputs, RunContext, Scope, TaskEnd, utc_now
from bridge.local.launcher import Runner
from bridge.local.object_store import SCHEMES, ObjectStore
from bridge.local.recording import (
    Outcome,
    Recorder,
    RunToExecute,
    TaskCreated,
    TaskFinished,
    TaskStarted,
)
from bridge.local.status import DiskFull

_log = logging.getLogger(__name__)

ROOT_PATH = ""


class RunExecutor:
    """One execution of one run. ``slots`` bounds the components that run at once in this process;
    share one semaphore between all executors. ``objects`` is the S3 server, if there is one."""

    def __init__(
        self,
        run: RunToExecute,
        recorder: Recorder,
        runner: Runner,
        *,
        slots: asyncio.Semaphore,
        objects: ObjectStore | None = None,
    ) -> None:
        self.run = run
        self._recorder = recorder
        self._runner = runner
        self._slots = slots
        self._objects = objects
        self._context: RunContext | None = None
        self._work: asyncio.Task[Outcome] | None = None
        self._cancel_requested = False

    async def execute(self) -> Outcome:
        """Runs everything to its end and says how it ended; call it once.

        Never raises for what a pipeline does, nor for a recorder that fails: that is a FAILED outcome.
        When the call itself is cancelled (the server stops), all processes are ended, nothing is
        recorded of it, and ``CancelledError`` goes on.
        """
        if self._cancel_requested:
            return Outcome(state=RuntimeState.CANCELED, message="The run was cancelled before it began.")
        self._work = asyncio.create_task(self._execute())
        try:
            return await self._work
        except asyncio.CancelledError:
            if not self._cancel_requested:
                raise
            return self._outcome(TaskEnd(RuntimeState.CANCELED, message="The run was cancelled."))
        except Exception as error:
            # Whatever broke, the run must not stay RUNNING for ever.
            _log.exception("The execution of run %s broke off", self.run.kfp_run_id)
            cause: BaseException = error
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            told = cause.message if isinstance(cause, DiskFull) else repr(cause)
            message = f"The local backend could not go on with the run: {told}"
            return self._outcome(TaskEnd(RuntimeState.FAILED, message=message))

    def cancel(self) -> None:
        """Ends every process of the run within two seconds; ``execute`` then returns CANCELED.

        Safe to call at any time and more than once, from the loop that runs ``execute``.
        """
        if self._cancel_requested:
            return
        self._cancel_requested = True
        if self._context is not None:
            self._context.cancel_requested = True
        if self._work is not None:
            self._work.cancel()

    def _outcome(self, end: TaskEnd) -> Outcome:
        failed = tuple(self._context.failed_tasks) if self._context else ()
        return Outcome(state=end.state, message=end.message, failed_tasks=failed, result=end.result)

    async def _execute(self) -> Outcome:
        run = self.run
        try:
            root = artifact_root(
                run.pipeline_root,
                run.data_dir,
                run.pipeline.name,
                str(run.kfp_run_id),
                reached=SCHEMES if self._objects is not None else (),
            )
        except PipelineRootError as error:
            return Outcome(state=RuntimeState.FAILED, message=str(error))
        self._context = context = RunContext(
            run=run,
            recorder=self._recorder,
            runner=self._runner,
            slots=self._slots,
            artifact_root=root,
            objects=self._objects,
            started_at=utc_now(),
            cancel_requested=self._cancel_requested,
        )
        await self._root_created(context)
        component = run.pipeline.model.root
        try:
            inputs = fit_to_component(component, Inputs(dict(run.parameters)), run.pipeline.name)
        except InputError as error:
            return await self._root_finished(context, TaskEnd(RuntimeState.FAILED, message=str(error)))
        await self._root_started(context, inputs)
        scope = Scope(component, ROOT_PATH, context.task_id(ROOT_PATH), inputs)
        context.deadline = _deadline(run)
        limit = asyncio.timeout_at(context.deadline.at if context.deadline else None)
        try:
            async with limit:
                end = await run_dag(context, scope)
            return await self._root_finished(context, end)
        except TimeoutError:
            if not limit.expired() or context.deadline is None:
                raise
            end = TaskEnd(RuntimeState.FAILED, message=context.deadline.message)
            return await self._root_finished(context, end)
        except asyncio.CancelledError:
            if context.cancel_requested:
                end = TaskEnd(RuntimeState.CANCELED, message="The run was cancelled.")
                await self._root_finished(context, end)
            raise

    async def _root_created(self, context: RunContext) -> None:
        await context.recorder.task_created(
            TaskCreated(
                kfp_run_id=self.run.kfp_run_id,
                task_id=context.task_id(ROOT_PATH),
                parent_task_id=None,
                name="root",
                display_name=self.run.display_name,
                path=ROOT_PATH,
                kind="dag",
                created_at=context.started_at,
            )
        )

    async def _root_started(self, context: RunContext, inputs: Inputs) -> None:
        await context.recorder.task_started(
            TaskStarted(
                kfp_run_id=self.run.kfp_run_id,
                task_id=context.task_id(ROOT_PATH),
                attempt=0,
                started_at=utc_now(),
                parameters=inputs.parameters,
                platform=self.run.pipeline.pipeline_config,
                notes=_notes(self.run.pipeline.pipeline_config),
            )
        )

    async def _root_finished(self, context: RunContext, end: TaskEnd) -> Outcome:
        await context.recorder.task_finished(
            TaskFinished(
                kfp_run_id=self.run.kfp_run_id,
                task_id=context.task_id(ROOT_PATH),
                state=end.state,
                finished_at=utc_now(),
                result=end.result,
                message=end.message,
            )
        )
        return self._outcome(end)


def _deadline(run: RunToExecute) -> Deadline | None:
    """When the run has to be over (``PipelineConfig.active_deadline_seconds``)."""
    seconds = run.pipeline.pipeline_config.get("activeDeadlineSeconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        return None
    return Deadline(float(seconds), asyncio.get_running_loop().time() + seconds)


def _notes(config: Mapping[str, Any]) -> list[str]:
    return [
        f"Not honoured: {key} {config[key]}: runs are kept as long as the backend keeps any."
        for key in sorted(config)
        if key.startswith("resourceTtl")
    ]
