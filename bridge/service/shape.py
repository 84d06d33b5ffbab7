"""What a compiled pipeline is going to do: its tasks by path, and which waits for which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from bridge.client.models import PlannedTaskModel
from bridge.spec.load import Pipeline
from bridge.spec.model import Component, ImporterSpec, PipelineModel, Task

MAX_PLANNED = 5000
_DEEPEST = 40


def planned_tasks(pipeline: Pipeline) -> list[PlannedTaskModel]:
    """The tasks below the root, parents first, at most ``MAX_PLANNED``; a loop's body is there once."""
    found = []
    for one in _below(pipeline.model, pipeline.model.root, "", 0):
        found.append(one)
        if len(found) == MAX_PLANNED:
            break
    return found


def _below(model: PipelineModel, component: Component, path: str, depth: int) -> Iterator[PlannedTaskModel]:
    if component.dag is None or depth == _DEEPEST:
        return
    prefix = f"{path}." if path else ""
    for name, task in component.dag.tasks.items():
        inner = model.components[task.component]
        yield PlannedTaskModel(
            path=prefix + name,
            parent=path,
            name=task.display_name or name,
            kind=_kind(model, inner),
            loop=task.iterator is not None,
            after=[prefix + other for other in _after(task)],
        )
        yield from _below(model, inner, prefix + name, depth + 1)


def _after(task: Task) -> list[str]:
    return sorted(set(task.dependencies))


def _kind(model: PipelineModel, component: Component) -> Literal["dag", "container", "importer"]:
    if component.dag is not None:
        return "dag"
    executor = model.executors.get(component.executor or "")
    return "importer" if isinstance(executor, ImporterSpec) else "container"
