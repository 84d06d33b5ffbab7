"""What is checked when the DAG is parsed, so that a wrong DAG never becomes a failed run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bridge.provider.fetching import PipelineProblem
from bridge.provider.folders import pipeline_folders
from bridge.provider.pipelines import (
    argument_problems,
    as_source,
    is_static,
    load_when_parsed,
)

if TYPE_CHECKING:
    from bridge.provider.operators import KubeflowPipelineOperator

_CHOICES = {
    "retry_policy_of_run": ("on_retry", ("new_run", "retry_failed_tasks")),
    "clear_policy": ("on_clear", ("cancel_then_new", "adopt", "detach")),
    "kill_policy": ("on_kill", ("cancel", "detach")),
    "gate_action": ("gate_action", ("fail", "skip", "continue")),
}


def check_choices(task: KubeflowPipelineOperator) -> None:
    """Raises ``ValueError`` naming DAG, task and each parameter whose value is none of its choices."""
    problems = [
        f"{name} is {getattr(task, attribute)!r}; it has to be one of {', '.join(choices)}"
        for attribute, (name, choices) in _CHOICES.items()
        if getattr(task, attribute) not in choices
    ]
    if task.timeout_seconds is not None and task.timeout_seconds <= 0:
        problems.append(f"timeout is {task.timeout_seconds:g} s; it has to be more than 0")
    if task.patience_seconds < 0:
        problems.append(f"patience_seconds is {task.patience_seconds:g}; it has to be 0 or more")
    _raise(task, problems)


def source_of(task: KubeflowPipelineOperator, pipeline: Any) -> Any:
    """As ``as_source``; raises ``ValueError`` naming DAG and task."""
    try:
        return as_source(pipeline)
    except PipelineProblem as error:
        dag = f"DAG {task.dag.dag_id!r}, " if task.has_dag() else ""
        raise ValueError(f"{dag}task {task.task_id!r} has no pipeline: {error}") from error


def check_when_parsed(task: KubeflowPipelineOperator) -> None:
    """Raises ``ValueError`` naming DAG, task and each argument that does not fit the pipeline.

    Does nothing where the pipeline, or the names of arguments or inputs, are known only when the task
    runs, and for a pipeline that is elsewhere: parsing a DAG makes no network calls.
    """
    arguments = {} if task.arguments is None else task.arguments
    inputs = {} if task.inputs is None else task.inputs
    if not (isinstance(arguments, Mapping) and isinstance(inputs, Mapping)):
        return
    try:
        pipeline = load_when_parsed(task.pipeline, pipeline_folders(task))
    except PipelineProblem as error:
        # Outside of a DAG nothing says yet which folder a relative path is meant from.
        if task.has_dag():
            _raise(task, [str(error)])
        return
    if pipeline is not None:
        _raise(task, argument_problems(pipeline, arguments, inputs=[str(name) for name in inputs]))


def templated_names(arguments: Any) -> frozenset[str]:
    """The arguments whose value is text with a template in it."""
    if not isinstance(arguments, Mapping):
        return frozenset()
    return frozenset(n for n, value in arguments.items() if isinstance(value, str) and not is_static(value))


def seconds_of(duration: timedelta | float | None) -> float | None:
    """A duration in seconds."""
    if duration is None:
        return None
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


def _raise(task: KubeflowPipelineOperator, problems: list[str]) -> None:
    if problems:
        dag = f"DAG {task.dag.dag_id!r}, " if task.has_dag() else ""
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise ValueError(f"{dag}task {task.task_id!r} cannot run its pipeline {task.pipeline!r}:{listed}")
