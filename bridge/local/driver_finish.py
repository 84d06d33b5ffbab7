"""Leaves of the tree of tasks, and how their beginning and end are told to the recorder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bridge.domain.states import RuntimeState
from bridge.local.driver_scope import Inputs, RunContext, Scope, TaskEnd, utc_now
from bridge.local.recording import CachedTask, TaskFinished, TaskResult, TaskStarted
from bridge.spec.model import Component, Task


@dataclass(frozen=True, slots=True)
class Leaf:
    """A task that is no DAG, ready to run: it has been recorded as created, its inputs are there.

    ``inputs`` are those that its component declares, ``given`` all that its task names: placeholders in the
    container's image and resources refer to those. ``scope`` is the DAG that it is a task of.
    """

    scope: Scope
    task: Task
    component: Component
    path: str
    inputs: Inputs
    given: Inputs


async def finish(
    context: RunContext,
    path: str,
    end: TaskEnd,
    *,
    exit_code: int | None = None,
    mark: str | None = None,
) -> TaskEnd:
    """Tells the recorder how a task ended; its artifacts come back with their ids."""
    if end.state is RuntimeState.FAILED and path not in context.failed_tasks:
        context.failed_tasks.append(path)
    ids = await context.recorder.task_finished(
        TaskFinished(
            kfp_run_id=context.run.kfp_run_id,
            task_id=context.task_id(path),
            state=end.state,
            finished_at=utc_now(),
            result=end.result,
            message=end.message,
            exit_code=exit_code,
            fingerprint=mark,
        )
    )
    return replace(end, result=_with_ids(end.result, ids))


async def finish_from_cache(context: RunContext, leaf: Leaf, cached: CachedTask) -> TaskEnd:
    """Starts and ends a task with the result of an earlier one: recorded as SKIPPED, as good as SUCCEEDED."""
    await start_without_pod(context, leaf)
    ids = await context.recorder.task_finished(
        TaskFinished(
            kfp_run_id=context.run.kfp_run_id,
            task_id=context.task_id(leaf.path),
            state=RuntimeState.SKIPPED,
            finished_at=utc_now(),
            result=cached.result,
            cached_task_id=cached.task_id,
        )
    )
    return TaskEnd(RuntimeState.SUCCEEDED, _with_ids(cached.result, ids))


async def start_without_pod(context: RunContext, leaf: Leaf) -> None:
    """Tells the recorder that a task begins for which no process is started."""
    await context.recorder.task_started(
        TaskStarted(
            kfp_run_id=context.run.kfp_run_id,
            task_id=context.task_id(leaf.path),
            attempt=0,
            started_at=utc_now(),
            parameters=leaf.inputs.parameters,
            artifacts=leaf.inputs.artifacts,
        )
    )


def _with_ids(result: TaskResult, ids: Mapping[str, tuple[int, ...]]) -> TaskResult:
    artifacts = {
        key: tuple(
            replace(artifact, artifact_id=artifact_id)
            for artifact, artifact_id in zip(found, ids[key], strict=True)
        )
        if key in ids
        else found
        for key, found in result.artifacts.items()
    }
    return replace(result, artifacts=artifacts)
