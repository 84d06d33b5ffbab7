"""Executes DAGs: when each task starts, whether it runs at all, loops, and what a DAG gives.

The rules are KFP's. A task starts when everything upstream has ended. If one of these failed or was
skipped, it does not run, unless its strategy is ALL_UPSTREAM_TASKS_COMPLETED (exit handlers and
``ignore_upstream_failure``). Siblings of a failed task go on. A DAG with a failed task has failed, also
when an exit handler ran after it. A false condition skips the task, and what depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from bridge.domain.states import RuntimeState
from bridge.local.conditions import ExpressionError, evaluate_condition
from bridge.local.driver_finish import Leaf, finish
from bridge.local.driver_inputs import InputError, fit_to_component, resolve_inputs, resolve_items
from bridge.local.driver_leaf import run_leaf
from bridge.local.driver_retry import inherited
from bridge.local.driver_scope import Inputs, RunContext, Scope, TaskEnd, utc_now
from bridge.local.recording import (
    StoredArtifact,
    TaskCreated,
    TaskFinished,
    TaskKind,
    TaskResult,
    TaskStarted,
)
from bridge.spec.model import Component, Dag, ImporterSpec, OutputSelector, Task, TriggerStrategy


async def run_dag(context: RunContext, scope: Scope) -> TaskEnd:
    """Runs all tasks of a DAG, side by side where they can be, and says how it ended and what it gives.

    It does not tell the recorder of the DAG itself, only of its tasks.
    """
    assert scope.component.dag is not None
    dag = scope.component.dag
    jobs: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as group:
        for task in dag.tasks.values():
            jobs[task.name] = group.create_task(_run_after_upstream(context, scope, task, jobs))
    failed = [name for name, end in scope.ends.items() if end.state is RuntimeState.FAILED]
    if failed:
        first = scope.ends[failed[0]]
        others = f" ({len(failed) - 1} more failed.)" if len(failed) > 1 else ""
        message = f"The task {failed[0]} failed: {first.message}{others}"
        return TaskEnd(RuntimeState.FAILED, dag_result(dag, scope.ends), message)
    return TaskEnd(RuntimeState.SUCCEEDED, dag_result(dag, scope.ends))


def dag_result(dag: Dag, ends: Mapping[str, TaskEnd]) -> TaskResult:
    """What a DAG gives. Of several sources (``OneOf``) the first that has run counts; an output whose
    sources have not run is left out."""
    parameters: dict[str, Any] = {}
    artifacts: dict[str, tuple[StoredArtifact, ...]] = {}
    for name, selector in dag.parameters.items():
        for value in _chosen(selector, ends, lambda result: result.parameters):
            parameters[name] = value
            break
    for name, selector in dag.artifacts.items():
        for value in _chosen(selector, ends, lambda result: result.artifacts):
            artifacts[name] = value
            break
    return TaskResult(parameters, artifacts)


def collect(ends: Sequence[TaskEnd], component: Component) -> TaskResult:
    """What a loop gives: for each output parameter the list of its values in the order of the items, for
    each output artifact all of them. Iterations that gave none are left out, as in KFP."""
    parameters = {
        name: [end.result.parameters[name] for end in ends if name in end.result.parameters]
        for name in component.output_parameters
    }
    artifacts = {
        name: tuple(artifact for end in ends for artifact in end.result.artifacts.get(name, ()))
        for name in component.output_artifacts
    }
    return TaskResult(parameters, artifacts)


def _chosen(selector: OutputSelector, ends: Mapping[str, TaskEnd], values: Any) -> list[Any]:
    found = []
    for source in selector.sources:
        end = ends.get(source.task)
        if end is not None and source.key in values(end.result):
            found.append(values(end.result)[source.key])
    return found


async def _run_after_upstream(
    context: RunContext, scope: Scope, task: Task, jobs: Mapping[str, asyncio.Task[None]]
) -> None:
    upstream = [jobs[name] for name in task.dependencies]
    if upstream:
        await asyncio.wait(upstream)
    path = scope.path_of(task)
    finished = context.run.finished.get(path)
    if finished is not None:
        scope.ends[task.name] = TaskEnd(RuntimeState.SUCCEEDED, finished)
        return
    try:
        scope.ends[task.name] = await _run_task(context, scope, task)
    except asyncio.CancelledError:
        await _record_canceled(context, path)
        raise


async def _run_task(context: RunContext, scope: Scope, task: Task) -> TaskEnd:
    component = context.model.components[task.component]
    path = scope.path_of(task)
    blocker = _blocker(scope, task)
    if blocker:
        await _created(context, scope.task_id, task, component, path)
        return await _skipped(context, path, blocker)
    try:
        inputs = resolve_inputs(context, scope, task)
        if task.condition and not evaluate_condition(task.condition, inputs.parameters):
            await _created(context, scope.task_id, task, component, path)
            return await _skipped(context, path, f"The condition is false: {task.condition}")
        items = resolve_items(context, scope, task, inputs) if task.iterator else None
    except (InputError, ExpressionError, ValueError) as error:
        await _created(context, scope.task_id, task, component, path)
        return await finish(context, path, TaskEnd(RuntimeState.FAILED, message=str(error)))
    if items is not None:
        return await _run_loop(context, scope, task, inputs, items)
    return await _run_component(context, scope, task, path, inputs)


def _blocker(scope: Scope, task: Task) -> str | None:
    """Why the task must not run, or ``None``."""
    if task.strategy is TriggerStrategy.UPSTREAM_COMPLETED:
        return None
    for name in task.dependencies:
        end = scope.ends[name]
        if end.state is RuntimeState.FAILED:
            return f"Not run: the upstream task {name} failed."
        if not end.succeeded:
            return f"Not run: the upstream task {name} was skipped."
    return None


async def _run_component(
    context: RunContext,
    around: Scope,
    task: Task,
    path: str,
    inputs: Inputs,
    *,
    iteration: int | None = None,
) -> TaskEnd:
    """One task, or one iteration of it: a nested DAG, a container or an importer."""
    component = context.model.components[task.component]
    parent_id = around.task_id if iteration is None else context.task_id(around.path_of(task))
    await _created(context, parent_id, task, component, path, iteration=iteration)
    try:
        fitted = fit_to_component(component, inputs, task.name)
    except InputError as error:
        return await finish(context, path, TaskEnd(RuntimeState.FAILED, message=str(error)))
    if component.dag is None:
        return await run_leaf(context, Leaf(around, task, component, path, fitted, inputs))
    await _started(context, path, fitted)
    retry = inherited(task.retry, around.retry)
    scope = Scope(component, path, context.task_id(path), fitted, retry)
    return await _finish_dag(context, path, await run_dag(context, scope))


async def _run_loop(
    context: RunContext,
    scope: Scope,
    task: Task,
    inputs: Inputs,
    items: Sequence[Any],
) -> TaskEnd:
    component = context.model.components[task.component]
    path = scope.path_of(task)
    await _created(context, scope.task_id, task, component, path, iteration_count=len(items))
    await _started(context, path, inputs, iteration_count=len(items))
    limit = asyncio.Semaphore(task.parallelism_limit or max(1, len(items)))

    async def run_item(index: int) -> TaskEnd:
        item_path = scope.path_of(task, index)
        finished = context.run.finished.get(item_path)
        if finished is not None:
            return TaskEnd(RuntimeState.SUCCEEDED, finished)
        async with limit:
            given = _with_item(task, inputs, items[index])
            try:
                return await _run_component(context, scope, task, item_path, given, iteration=index)
            except asyncio.CancelledError:
                await _record_canceled(context, item_path)
                raise

    async with asyncio.TaskGroup() as group:
        jobs = [group.create_task(run_item(index)) for index in range(len(items))]
    ends = [job.result() for job in jobs]
    failed = [index for index, end in enumerate(ends) if end.state is RuntimeState.FAILED]
    if failed:
        first = f"Iteration {failed[0]}: {ends[failed[0]].message}"
        message = f"{len(failed)} of {len(ends)} iterations failed. {first}"
        return await _finish_dag(context, path, TaskEnd(RuntimeState.FAILED, message=message))
    return await _finish_dag(context, path, TaskEnd(RuntimeState.SUCCEEDED, collect(ends, component)))


def _with_item(task: Task, inputs: Inputs, item: Any) -> Inputs:
    assert task.iterator is not None
    name = task.iterator.item_input
    if task.iterator.over_artifacts:
        return Inputs(inputs.parameters, {**inputs.artifacts, name: (item,)})
    return Inputs({**inputs.parameters, name: item}, inputs.artifacts)


async def _finish_dag(context: RunContext, path: str, end: TaskEnd) -> TaskEnd:
    """Records the end of a DAG. Its failure is its tasks' failure, so it is not listed beside them."""
    await context.recorder.task_finished(
        TaskFinished(
            kfp_run_id=context.run.kfp_run_id,
            task_id=context.task_id(path),
            state=end.state,
            finished_at=utc_now(),
            result=end.result,
            message=end.message,
        )
    )
    return end


async def _created(
    context: RunContext,
    parent_id: UUID,
    task: Task,
    component: Component,
    path: str,
    *,
    iteration: int | None = None,
    iteration_count: int | None = None,
) -> None:
    await context.recorder.task_created(
        TaskCreated(
            kfp_run_id=context.run.kfp_run_id,
            task_id=context.task_id(path),
            parent_task_id=parent_id,
            name=task.name,
            display_name=task.display_name,
            path=path,
            kind="dag" if iteration_count is not None else _kind(context, component),
            created_at=utc_now(),
            iteration=iteration,
            iteration_count=iteration_count,
        )
    )


def _kind(context: RunContext, component: Component) -> TaskKind:
    if component.dag is not None:
        return "dag"
    executor = context.model.executors[component.executor or ""]
    return "importer" if isinstance(executor, ImporterSpec) else "container"


async def _started(
    context: RunContext, path: str, inputs: Inputs, *, iteration_count: int | None = None
) -> None:
    await context.recorder.task_started(
        TaskStarted(
            kfp_run_id=context.run.kfp_run_id,
            task_id=context.task_id(path),
            attempt=0,
            started_at=utc_now(),
            parameters=inputs.parameters,
            artifacts=inputs.artifacts,
            iteration_count=iteration_count,
        )
    )


async def _skipped(context: RunContext, path: str, message: str) -> TaskEnd:
    return await finish(context, path, TaskEnd(RuntimeState.SKIPPED, message=message))


async def _record_canceled(context: RunContext, path: str) -> None:
    """Notes that a task was under way when the run was cancelled or its time was over. A server that merely
    stops writes nothing: its runs are taken up again."""
    if context.cancel_requested:
        await finish(context, path, TaskEnd(RuntimeState.CANCELED, message="The run was cancelled."))
    elif context.deadline is not None and context.deadline.passed:
        await finish(context, path, TaskEnd(RuntimeState.FAILED, message=context.deadline.message))
