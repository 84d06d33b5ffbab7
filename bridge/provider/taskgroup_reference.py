"""What one task of a run left: its reference for XCom, and its last log lines."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from bridge.client.errors import BridgeError
from bridge.client.reference import MAX_REFERENCE_BYTES, build_reference
from bridge.domain.states import parse_state
from bridge.provider.taskgroup_verdict import RunTasks, Wanted, belongs

if TYPE_CHECKING:
    from bridge.client.models import ArtifactModel, RunModel, TaskModel
    from bridge.client.sync import BridgeClient

MAX_ITERATIONS = 200
MAX_LOG_LINES = 50
_ITERATIONS_BYTES = 8 * 1024

log = logging.getLogger(__name__)


def task_reference(
    client: BridgeClient, run: RunModel, tasks: RunTasks, path: str, *, loop: bool, task: TaskModel | None
) -> dict[str, Any]:
    """The reference of one task: as ``build_reference`` makes one of a run, with the task's own state,
    outputs, metrics and artifacts, and ``task``, ``cached``; a loop also has ``iterations``, each with
    its number, state and outputs. 32 KiB at most; what is left out is counted. Raises ``BridgeError``.
    """
    wanted = Wanted(path=path, loop=loop)
    artifacts = [kept for one in client.artifacts(run.run_id) if (kept := _of_task(one, wanted)).uses]
    metrics = [one for one in client.metrics(run.run_id).scalars if belongs(one.task_path, wanted)]
    root = [] if task is None else [task.model_copy(update={"path": ""})]
    reference = build_reference(run.model_copy(update={"gate": None}), root, artifacts, metrics)
    reference["task"] = path
    reference["state"] = run.state if task is None else task.state
    reference["cached"] = task is not None and task.cached
    if loop:
        _add_iterations(reference, tasks.iterations(path))
    return reference


def log_tail(
    client: BridgeClient, run: RunModel, tasks: RunTasks, path: str, *, loop: bool
) -> tuple[str, ...]:
    """The last log lines of the failed task, of a loop those of the first failed task in it; what the
    bridge keeps, else what the backend still has."""
    failed = [
        task
        for task in tasks.of(Wanted(path=path, loop=loop))
        if parse_state(task.state).is_terminal and not parse_state(task.state).is_successful
    ]
    for task in failed:
        if task.error is not None and task.error.log_tail:
            return tuple(task.error.log_tail[-MAX_LOG_LINES:])
    # The bridge reads logs at the run's end; before, the backend has to be asked.
    asked = next((task for task in failed if task.kind != "dag" and task.pod_name), None)
    if asked is None:
        return ()
    try:
        return tuple(client.logs(run.run_id, asked.path).rstrip().splitlines()[-MAX_LOG_LINES:])
    except BridgeError as error:
        log.warning("The log of KFP task %s cannot be read: %s", asked.path, error)
        return ()


def _of_task(artifact: ArtifactModel, wanted: Wanted) -> ArtifactModel:
    return artifact.model_copy(
        update={"uses": [use for use in artifact.uses if belongs(use.task_path, wanted)]}
    )


def _add_iterations(reference: dict[str, Any], iterations: list[TaskModel]) -> None:
    """Adds as many iterations as there is room for, and how many ended how."""
    reference["iteration_states"] = dict(Counter(item.state for item in iterations))
    room: float = min(_ITERATIONS_BYTES, MAX_REFERENCE_BYTES - len(json.dumps(reference)) - 200)
    kept: list[dict[str, Any]] = []
    for item in iterations[:MAX_ITERATIONS]:
        entry: dict[str, Any] = {"iteration": item.iteration, "state": item.state, "cached": item.cached}
        if _size({**entry, "outputs": item.outputs}) <= min(room, 1024):
            entry["outputs"] = item.outputs
        room -= _size(entry)
        if room < 0:
            break
        kept.append(entry)
    reference["iterations"] = kept
    if len(kept) < len(iterations):
        omitted = reference.setdefault("omitted", {"see": f"bridge://runs/{reference['run_id']}"})
        omitted["iterations"] = len(iterations) - len(kept)


def _size(value: Any) -> float:
    try:
        return len(json.dumps(value, allow_nan=False)) + 2
    except (ValueError, TypeError):
        return float("inf")
