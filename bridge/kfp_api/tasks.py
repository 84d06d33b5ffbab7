"""Builds the tree of a run's tasks from MLMD executions and REST task details. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from bridge.domain.lineage import RunError, Task
from bridge.domain.states import RuntimeState
from bridge.kfp_api import metadata_pb2 as pb
from bridge.kfp_api.errors import bounded_text
from bridge.kfp_api.messages import TaskDetail
from bridge.kfp_api.values import Cleaner, int_of, moment, struct_of, text_of

ROOT_NAME = "root"
_KINDS: Mapping[str, str] = {
    "system.ContainerExecution": "container",
    "system.DAGExecution": "dag",
    "system.ImporterExecution": "importer",
    "system.ImporterWorkspaceExecution": "importer",
}
# In MLMD, CANCELED means that a condition did not trigger the task.
_STATES: Mapping[int, RuntimeState] = {
    pb.Execution.NEW: RuntimeState.PENDING,
    pb.Execution.RUNNING: RuntimeState.RUNNING,
    pb.Execution.COMPLETE: RuntimeState.SUCCEEDED,
    pb.Execution.FAILED: RuntimeState.FAILED,
    pb.Execution.CACHED: RuntimeState.SKIPPED,
    pb.Execution.CANCELED: RuntimeState.SKIPPED,
}
_MAX_DEPTH = 100


def build_tasks(
    executions: Sequence[pb.Execution],
    types: Mapping[int, str],
    details: Sequence[TaskDetail],
    cleaner: Cleaner,
) -> list[Task]:
    """The tasks in the order of their executions, parents before children.

    ``task_id`` is the execution's id, the one thing that is there from the first reading to the
    last. A failed REST task that belongs to no execution (its driver failed before it could make
    one) follows at the end, under ``rest:`` and its own id.
    """
    ordered = sorted(executions, key=lambda execution: execution.id)
    paths = _Paths(ordered)
    matched = _match(ordered, details)
    tasks = [_task(execution, types, paths, matched.get(execution.id), cleaner) for execution in ordered]
    tasks = _settled(tasks)
    claimed = {id(detail) for detail in matched.values()}
    containers = {
        matched[task.execution_id].task_id
        for task in tasks
        if task.kind != "dag" and task.execution_id is not None and task.execution_id in matched
    }
    tasks.extend(_failed_alone(details, claimed, containers, cleaner))
    return tasks


class _Paths:
    """Paths of executions: names joined from the root, iterations as ``name[3]``."""

    def __init__(self, executions: Sequence[pb.Execution]) -> None:
        self._by_id = {execution.id: execution for execution in executions}
        self._known: dict[int, str] = {}

    def parent(self, execution: pb.Execution) -> pb.Execution | None:
        """The DAG that an execution belongs to, if it is among the run's."""
        parent_id = int_of(execution.custom_properties, "parent_dag_id")
        parent = self._by_id.get(parent_id) if parent_id is not None else None
        return None if parent is execution else parent

    def path(self, execution: pb.Execution, depth: int = 0) -> str:
        """The execution's path; the root DAG's is empty."""
        if execution.id not in self._known:
            self._known[execution.id] = self._find(execution, depth)
        return self._known[execution.id]

    def _find(self, execution: pb.Execution, depth: int) -> str:
        name = task_name(execution)
        parent = self.parent(execution)
        if parent is None or depth >= _MAX_DEPTH:
            return "" if is_root(execution) else name
        above = self.path(parent, depth + 1)
        iteration = int_of(execution.custom_properties, "iteration_index")
        if iteration is None:
            return f"{above}.{name}" if above else name
        # A loop is one DAG named like its task, and below it one execution of the same name per item.
        if task_name(parent) == name and not is_root(parent):
            return f"{above}[{iteration}]"
        return f"{above}.{name}[{iteration}]" if above else f"{name}[{iteration}]"


def task_name(execution: pb.Execution) -> str:
    """The task's name in the compiled pipeline, ``root`` for the root DAG."""
    if is_root(execution):
        # Whatever a server shows it as: some give it the run's name.
        return ROOT_NAME
    properties = execution.custom_properties
    named = text_of(properties, "task_name") or text_of(properties, "display_name")
    return named or execution.name or f"execution-{execution.id}"


def is_root(execution: pb.Execution) -> bool:
    """Whether the execution is the run's root DAG, which alone has no parent and is named after the run."""
    if int_of(execution.custom_properties, "parent_dag_id"):
        return False
    return execution.name.startswith("run/") or not text_of(execution.custom_properties, "task_name")


def _match(executions: Sequence[pb.Execution], details: Sequence[TaskDetail]) -> dict[int, TaskDetail]:
    """REST details by execution id: by the id itself, else by pod, else by a name that is unique.

    MLMD knows pods by name (``flow-x7k2p-system-container-impl-2277833670``), REST by Argo's node id
    (``flow-x7k2p-2277833670``): the number at the end is the same.
    """
    by_execution = {
        detail.execution_id: detail for detail in details if detail.execution_id not in (None, "0")
    }
    by_pod = {detail.pod_name: detail for detail in details if detail.pod_name}
    for parent in details:
        for child in parent.child_tasks:
            if child.pod_name:
                by_pod.setdefault(child.pod_name, parent)
    by_node = _nodes(by_pod)
    by_name = _unique_names(details)
    names = Counter(task_name(execution) for execution in executions)
    found: dict[int, TaskDetail] = {}
    for execution in executions:
        name = task_name(execution)
        pod = text_of(execution.custom_properties, "pod_name")
        detail: TaskDetail | None = by_execution.get(str(execution.id))
        if detail is None and pod:
            detail = by_pod.get(pod) or _of_node(pod, by_node)
        if detail is None and names[name] == 1:
            detail = by_name.get(name)
        if detail is not None:
            found[execution.id] = detail
    return found


def _nodes(by_pod: Mapping[str, TaskDetail]) -> dict[str, list[tuple[str, TaskDetail]]]:
    found: defaultdict[str, list[tuple[str, TaskDetail]]] = defaultdict(list)
    for node, detail in by_pod.items():
        workflow, _, number = node.rpartition("-")
        if workflow and number.isdecimal():
            found[number].append((workflow, detail))
    return found


def _of_node(pod: str, by_node: Mapping[str, Sequence[tuple[str, TaskDetail]]]) -> TaskDetail | None:
    number = pod.rpartition("-")[2]
    fitting = [detail for workflow, detail in by_node.get(number, ()) if pod.startswith(f"{workflow}-")]
    return fitting[0] if len(fitting) == 1 else None


def _settled(tasks: Sequence[Task]) -> list[Task]:
    """The tasks with an end for each DAG that MLMD left RUNNING in a run that is over.

    Releases before 2.5 never end a DAG's execution; REST makes up for it where the DAG's name is unique,
    which those of iterations are not. What is inside tells then, as far as it has ended itself.
    """
    root = next((task for task in tasks if not task.path and task.kind == "dag"), None)
    if root is None or not root.state.is_terminal:
        return list(tasks)
    ended: dict[str, Task] = {}
    inside: defaultdict[str, list[Task]] = defaultdict(list)
    # An execution's id is greater than its parent's, so children come first this way.
    for task in reversed(tasks):
        left = task.kind == "dag" and not task.state.is_terminal
        told = _ended_dag(task, inside[task.task_id], root) if left else task
        ended[task.task_id] = told
        inside[task.parent_task_id or ""].append(told)
    return [ended[task.task_id] for task in tasks]


def _ended_dag(dag: Task, children: Sequence[Task], root: Task) -> Task:
    if any(child.state is RuntimeState.FAILED for child in children):
        state = RuntimeState.FAILED
    elif children and all(child.state.is_successful for child in children):
        state = RuntimeState.SUCCEEDED
    elif root.state in (RuntimeState.CANCELED, RuntimeState.SUCCEEDED):
        state = root.state
    else:
        return dag
    finished = [child.finished_at for child in children if child.finished_at is not None]
    return replace(dag, state=state, finished_at=max(finished, default=root.finished_at))


def _unique_names(details: Sequence[TaskDetail]) -> dict[str, TaskDetail]:
    counts = Counter(detail.display_name for detail in details)
    return {
        detail.display_name: detail
        for detail in details
        if detail.display_name and counts[detail.display_name] == 1
    }


def _task(
    execution: pb.Execution,
    types: Mapping[int, str],
    paths: _Paths,
    detail: TaskDetail | None,
    cleaner: Cleaner,
) -> Task:
    path = cleaner.text(paths.path(execution), "a task's path")
    parent = paths.parent(execution)
    properties = execution.custom_properties
    state = _combine(_STATES.get(execution.last_known_state, RuntimeState.UNSPECIFIED), detail)
    changed = moment(execution.last_update_time_since_epoch)
    created = moment(execution.create_time_since_epoch)
    return Task(
        task_id=str(execution.id),
        name=cleaner.text(task_name(execution), "a task's name"),
        path=path,
        parent_task_id=str(parent.id) if parent is not None else None,
        state=state,
        kind=_KINDS.get(execution.type or types.get(execution.type_id, "")),
        iteration=int_of(properties, "iteration_index"),
        cached=execution.last_known_state == pb.Execution.CACHED
        or text_of(properties, "cached_execution_id") is not None,
        pod_name=text_of(properties, "pod_name") or (detail.pod_name if detail else None),
        execution_id=execution.id,
        created_at=first_moment(detail.create_time if detail else None, created),
        started_at=first_moment(detail.start_time if detail else None, created),
        finished_at=first_moment(detail.end_time if detail else None, changed) if state.is_terminal else None,
        error=_error(detail, path) if state is not RuntimeState.SUCCEEDED else None,
        inputs=cleaner.struct(struct_of(properties, "inputs"), f"input of {path}"),
        outputs=cleaner.struct(struct_of(properties, "outputs"), f"output of {path}"),
    )


def _combine(recorded: RuntimeState, detail: TaskDetail | None) -> RuntimeState:
    told = detail.runtime_state if detail is not None else RuntimeState.UNSPECIFIED
    if told in (RuntimeState.UNSPECIFIED, RuntimeState.UNKNOWN):
        return recorded
    if not recorded.is_terminal:
        return told
    # REST lags behind what the task itself wrote; and it calls a cached task merely successful.
    if not told.is_terminal or (recorded is RuntimeState.SKIPPED and told.is_successful):
        return recorded
    return told


def _error(detail: TaskDetail | None, path: str) -> RunError | None:
    if detail is None:
        return None
    history = [step.error for step in detail.state_history if step.error is not None]
    error = detail.error or (history[-1] if history else None)
    if error is None or not (error.message or error.code):
        return None
    return RunError(
        message=bounded_text(error.message or f"gRPC status {error.code}"),
        code=str(error.code) if error.code is not None else None,
        task=path,
    )


def _failed_alone(
    details: Sequence[TaskDetail], claimed: set[int], containers: set[str | None], cleaner: Cleaner
) -> Iterator[Task]:
    by_id = {detail.task_id: detail for detail in details if detail.task_id}
    for detail in details:
        if id(detail) in claimed or detail.runtime_state is not RuntimeState.FAILED or not detail.task_id:
            continue
        # The pods of a task that has an execution are that task.
        if detail.parent_task_id in containers:
            continue
        parent = by_id.get(detail.parent_task_id or "")
        if parent is not None and id(parent) not in claimed and parent.runtime_state is RuntimeState.FAILED:
            continue
        name = cleaner.text(detail.display_name or detail.task_id, "a task's name")
        yield Task(
            task_id=f"rest:{detail.task_id}",
            name=name,
            path=name,
            parent_task_id=None,
            state=RuntimeState.FAILED,
            pod_name=detail.pod_name,
            created_at=first_moment(detail.create_time),
            started_at=first_moment(detail.start_time),
            finished_at=first_moment(detail.end_time),
            error=_error(detail, name),
        )


def first_moment(*moments: datetime | None) -> datetime | None:
    """The first that is there and no zero time, in UTC."""
    for one in moments:
        if one is not None and one.timestamp() > 0:
            return one.astimezone(UTC) if one.tzinfo else one.replace(tzinfo=UTC)
    return None
