"""Checks that everything a pipeline refers to exists and that nothing waits for itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bridge.spec.model import (
    Component,
    Dag,
    FinalStatusOf,
    FromInput,
    FromTask,
    OutputSelector,
    PipelineModel,
    Task,
)
from bridge.spec.node import Problems, suggest


def check_references(model: PipelineModel, problems: Problems) -> None:
    """Adds a problem for each reference to nothing, each cycle and each task that runs nothing."""
    _check_component(model, model.root, "/root", problems)
    for name, component in model.components.items():
        _check_component(model, component, f"/components/{name}", problems)
    nested = {
        component.name: {task.component for task in component.dag.tasks.values()}
        for component in model.components.values()
        if component.dag
    }
    cycle = find_cycle(nested)
    if cycle:
        problems.add("/components", f"the components {' → '.join(cycle)} contain each other.")


def find_cycle(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """The names along one cycle, the first repeated at the end; empty if there is none."""
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        stack: list[tuple[str, list[str]]] = [(start, [])]
        while stack:
            name, _ = stack[-1]
            if name not in path:
                path.append(name)
                stack[-1] = (name, [step for step in edges.get(name, ()) if step not in done])
            name, rest = stack[-1]
            if not rest:
                done.add(name)
                path.pop()
                stack.pop()
                continue
            following = rest.pop()
            if following in path:
                return [*path[path.index(following) :], following]
            if following not in done:
                stack.append((following, []))
    return []


def _check_component(model: PipelineModel, component: Component, where: str, problems: Problems) -> None:
    if component.dag is None:
        if not component.executor:
            problems.add(where, "a component needs a dag or an executorLabel.")
        elif component.executor not in model.executors:
            hint = suggest(component.executor, model.executors)
            problems.add(where, f"the executor {component.executor} does not exist.{hint}")
        return
    dag = component.dag
    if not dag.tasks:
        problems.add(f"{where}/dag", "the DAG has no tasks.")
    for task in dag.tasks.values():
        _check_task(model, component, task, f"{where}/dag/tasks/{task.name}", problems)
    cycle = find_cycle({task.name: task.dependencies for task in dag.tasks.values()})
    if cycle:
        problems.add(f"{where}/dag", f"the tasks {' → '.join(cycle)} wait for each other.")
    _check_outputs(dag, dag.parameters, f"{where}/dag/outputs/parameters", problems)
    _check_outputs(dag, dag.artifacts, f"{where}/dag/outputs/artifacts", problems)


def _check_task(model: PipelineModel, parent: Component, task: Task, where: str, problems: Problems) -> None:
    assert parent.dag is not None
    siblings = parent.dag.tasks
    if task.component and task.component not in model.components:
        problems.add(
            where,
            f"the component {task.component} does not exist.{suggest(task.component, model.components)}",
        )
    for name in task.dependencies:
        if name not in siblings:
            problems.add(where, f"the task {name} it waits for does not exist.{suggest(name, siblings)}")
    for key, item in task.parameters.items():
        if isinstance(item.source, FromInput) and item.source.name not in parent.parameters:
            hint = suggest(item.source.name, parent.parameters)
            problems.add(where, f"{key} comes from the input {item.source.name}, which does not exist.{hint}")
    for key, source in task.artifacts.items():
        if isinstance(source, FromInput) and source.name not in parent.artifacts:
            hint = suggest(source.name, parent.artifacts)
            problems.add(where, f"{key} comes from the input {source.name}, which does not exist.{hint}")
    if task.iterator and task.iterator.input_name:
        known: Sequence[str] = [*(task.artifacts if task.iterator.over_artifacts else task.parameters)]
        if task.iterator.input_name not in known:
            problems.add(where, f"it loops over {task.iterator.input_name}, which is none of its inputs.")
    _check_producers(model, siblings, task, where, problems)


def _check_producers(
    model: PipelineModel, siblings: Mapping[str, Task], task: Task, where: str, problems: Problems
) -> None:
    for kind, sources in (
        ("parameter", [item.source for item in task.parameters.values()]),
        ("artifact", list(task.artifacts.values())),
    ):
        for source in sources:
            if isinstance(source, FinalStatusOf) or not isinstance(source, FromTask):
                continue
            producer = siblings.get(source.task)
            component = model.components.get(producer.component) if producer else None
            if component is None:
                continue
            outputs = component.output_parameters if kind == "parameter" else component.output_artifacts
            if source.key not in outputs:
                problems.add(
                    where, f"{source.task} has no output {kind} {source.key}.{suggest(source.key, outputs)}"
                )


def _check_outputs(dag: Dag, outputs: Mapping[str, OutputSelector], where: str, problems: Problems) -> None:
    for key, selector in outputs.items():
        for source in selector.sources:
            if source.task and source.task not in dag.tasks:
                problems.add(
                    f"{where}/{key}",
                    f"the task {source.task} does not exist.{suggest(source.task, dag.tasks)}",
                )
