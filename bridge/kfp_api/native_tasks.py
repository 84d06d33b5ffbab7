"""Builds the tree of a run's tasks from native tasks, iterations of loops included. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bridge.domain.lineage import RunError, Task
from bridge.domain.states import RuntimeState, parse_state
from bridge.kfp_api.errors import bounded_text
from bridge.kfp_api.native_messages import InputOutputs, PipelineTask
from bridge.kfp_api.tasks import ROOT_NAME, first_moment
from bridge.kfp_api.values import Cleaner

DAG = "dag"
_LOOP = "LOOP"
_ROOT = "ROOT"
_CACHED = "CACHED"
_KINDS: Mapping[str, str] = {
    "RUNTIME": "container",
    "IMPORTER": "importer",
    _ROOT: DAG,
    _LOOP: DAG,
    "CONDITION": DAG,
    "CONDITION_BRANCH": DAG,
    "EXIT_HANDLER": DAG,
    "DAG": DAG,
}
_ITERATED = "ITERATOR_OUTPUT"
_MAX_DEPTH = 100
_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class NativeTask:
    """What is kept of a native task until all are there: the task without its path, and where it belongs."""

    task: Task
    type: str
    iteration: int | None
    scope_path: str
    by_iteration: Mapping[int, Mapping[str, Any]]


def build_native_task(told: PipelineTask, cleaner: Cleaner) -> NativeTask | None:
    """What is kept of a task; ``None`` for one without an id."""
    if not told.task_id:
        cleaner.warn("a task without an id was left out")
        return None
    kind = told.type or ""
    is_root = kind == _ROOT or (not told.parent_task_id and told.name in (_ROOT, ROOT_NAME))
    name = (
        ROOT_NAME
        if is_root
        else cleaner.text(told.name or told.display_name or told.task_id, "a task's name")
    )
    cached = told.state == _CACHED
    state = RuntimeState.SKIPPED if cached else parse_state(told.state)
    begun = [step.update_time for step in told.state_history if step.state == "RUNNING"]
    outputs, by_iteration = _outputs(told.outputs, name, _KINDS.get(kind) == DAG, cleaner)
    task = Task(
        task_id=told.task_id,
        name=name,
        path="",
        parent_task_id=None if is_root else told.parent_task_id,
        state=state,
        kind=DAG if is_root else _KINDS.get(kind),
        cached=cached,
        pod_name=next((pod.name for pod in reversed(told.pods) if pod.name and pod.type == "EXECUTOR"), None),
        created_at=first_moment(told.create_time),
        started_at=first_moment(*begun, told.create_time),
        finished_at=first_moment(told.end_time) if state.is_terminal else None,
        error=_error(told, state),
        inputs=_inputs(told.inputs, name, cleaner),
        outputs=outputs,
    )
    attributes = told.type_attributes
    iteration = whole_number(attributes.iteration_index) if attributes else None
    return NativeTask(task, _ROOT if is_root else kind, iteration, told.scope_path or "", by_iteration)


def place_tasks(told: Iterable[NativeTask]) -> list[Task]:
    """The tasks with their paths, parents before children, and a task for each iteration of a loop."""
    ordered = sorted(told, key=lambda one: one.task.created_at or _NEVER)
    return _Tree(ordered).tasks()


class _Tree:
    def __init__(self, ordered: Sequence[NativeTask]) -> None:
        self._by_id = {one.task.task_id: one for one in ordered}
        self._made: dict[str, Task] = {}
        self._children: defaultdict[str, list[Task]] = defaultdict(list)
        self._iterations: dict[str, NativeTask] = {}

    def tasks(self) -> list[Task]:
        """All of them."""
        for one in self._by_id.values():
            self._place(one)
        for task_id, loop in self._iterations.items():
            self._made[task_id] = _summed(self._made[task_id], self._children[task_id], loop)
        return list(self._made.values())

    def _place(self, one: NativeTask, depth: int = 0) -> Task:
        if one.task.task_id in self._made:
            return self._made[one.task.task_id]
        parent = self._by_id.get(one.task.parent_task_id or "")
        if parent is None or parent is one or depth >= _MAX_DEPTH:
            return self._keep(replace(one.task, path="" if one.type == _ROOT else one.task.name))
        above = self._place(parent, depth + 1)
        name, iteration = one.task.name, one.iteration
        if one.task.task_id in self._made:
            # Its parents lead back to it; it was placed on the way.
            return self._made[one.task.task_id]
        if parent.type != _LOOP or iteration is None:
            ending = name if iteration is None or parent.iteration is not None else f"{name}[{iteration}]"
            return self._keep(replace(one.task, path=_below(above.path, ending)))
        if _is_iteration(one, parent):
            path = f"{above.path}[{iteration}]"
            return self._keep(replace(one.task, path=path, iteration=iteration))
        within = self._iteration(parent, above, iteration)
        return self._keep(
            replace(one.task, path=_below(within.path, name), parent_task_id=within.task_id), within.task_id
        )

    def _iteration(self, loop: NativeTask, above: Task, iteration: int) -> Task:
        task_id = f"{above.task_id}[{iteration}]"
        if task_id not in self._made:
            self._iterations[task_id] = loop
            self._keep(
                Task(
                    task_id=task_id,
                    name=above.name,
                    path=f"{above.path}[{iteration}]",
                    parent_task_id=above.task_id,
                    state=RuntimeState.RUNNING,
                    kind=DAG,
                    iteration=iteration,
                    outputs=loop.by_iteration.get(iteration, {}),
                )
            )
        return self._made[task_id]

    def _keep(self, task: Task, within: str | None = None) -> Task:
        self._made[task.task_id] = task
        if within is not None:
            self._children[within].append(task)
        return task


def _summed(iteration: Task, children: Sequence[Task], loop: NativeTask) -> Task:
    """An iteration with the state and the times that its children, and the end of its loop, give it."""
    over = loop.task.state.is_terminal and all(child.state.is_terminal for child in children)
    failed = any(child.state is RuntimeState.FAILED for child in children)
    state = RuntimeState.RUNNING
    if over:
        state = (
            RuntimeState.FAILED if failed and not loop.task.state.is_successful else RuntimeState.SUCCEEDED
        )
    begun = [child.created_at for child in children if child.created_at]
    started = [child.started_at for child in children if child.started_at]
    ended = [child.finished_at for child in children if child.finished_at]
    return replace(
        iteration,
        state=state,
        created_at=min(begun, default=None),
        started_at=min(started, default=None),
        finished_at=max(ended, default=None) if over else None,
    )


def _is_iteration(one: NativeTask, loop: NativeTask) -> bool:
    """Whether a loop's child is one of its iterations itself, as of a loop over a single component."""
    same_place = not one.scope_path or not loop.scope_path or one.scope_path == loop.scope_path
    return one.task.name == loop.task.name and same_place


def _below(above: str, name: str) -> str:
    return f"{above}.{name}" if above else name


def _inputs(side: InputOutputs | None, task: str, cleaner: Cleaner) -> dict[str, Any]:
    return {
        cleaner.text(one.parameter_key, f"an input of {task}"): cleaner.plain(
            one.value, f"input of {task}.{one.parameter_key}"
        )
        for one in (side.parameters if side else ())
        if one.parameter_key
    }


def _outputs(
    side: InputOutputs | None, task: str, is_dag: bool, cleaner: Cleaner
) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """The outputs, those of iterations gathered into lists, and what each iteration gave."""
    outputs: dict[str, Any] = {}
    by_iteration: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for one in side.parameters if side else ():
        if not one.parameter_key:
            continue
        key = cleaner.text(one.parameter_key, f"an output of {task}")
        value = cleaner.plain(one.value, f"output of {task}.{key}")
        iteration = whole_number(one.producer.iteration) if one.producer else None
        if is_dag and one.type == _ITERATED and iteration is not None:
            by_iteration[iteration][key] = value
        else:
            outputs[key] = value
    for iteration in sorted(by_iteration):
        for key, value in by_iteration[iteration].items():
            outputs.setdefault(key, []).append(value)
    return outputs, dict(by_iteration)


def _error(told: PipelineTask, state: RuntimeState) -> RunError | None:
    if state is RuntimeState.SUCCEEDED:
        return None
    steps = [step.error for step in told.state_history if step.error is not None]
    message = (told.status_metadata.message if told.status_metadata else None) or next(
        (step.message for step in reversed(steps) if step.message), None
    )
    if not message:
        return None
    code = next((step.code for step in reversed(steps) if step.code is not None), None)
    return RunError(message=bounded_text(message), code=None if code is None else str(code))


def whole_number(text: str | None) -> int | None:
    """The number in a text, ``None`` if there is none."""
    return int(text) if text and text.isascii() and text.isdecimal() else None
