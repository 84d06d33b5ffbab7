"""The store's side of the recording seam: what the driver says of tasks, kept for the API and for MLMD."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from bridge.domain.states import RuntimeState
from bridge.local import store_mlmd
from bridge.local.clock import now_milliseconds, rfc3339
from bridge.local.recording import (
    CachedTask,
    StoredArtifact,
    TaskCreated,
    TaskFinished,
    TaskResult,
    TaskStarted,
)
from bridge.local.status import Code
from bridge.local.store import Store
from bridge.local.store_mlmd import EventType, ExecutionState


class StoreRecorder:
    """Writes what the driver tells into the store; see ``recording.Recorder`` for what each call means."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def task_created(self, task: TaskCreated) -> None:
        """The task's row and its execution, new or, for a run that is retried, as good as new."""
        await self._store.write(lambda connection: _create(connection, task))

    async def task_started(self, start: TaskStarted) -> None:
        """The task is RUNNING; its inputs are known."""
        await self._store.write(lambda connection: _start(connection, start))

    async def task_finished(self, end: TaskFinished) -> Mapping[str, tuple[int, ...]]:
        """The task is at its end; returns the ids of its artifacts by output key."""
        return await self._store.write(lambda connection: _finish(connection, end))

    async def find_cached(self, fingerprint: str) -> CachedTask | None:
        """The newest task with this fingerprint that succeeded."""
        return await self._store.read(lambda connection: _find_cached(connection, fingerprint))

    async def find_artifact(self, artifact: StoredArtifact) -> int | None:
        """The id of an artifact that is the same."""
        return await self._store.read(lambda connection: store_mlmd.find_artifact(connection, artifact))


def tasks_of_run(connection: sqlite3.Connection, run_id: str) -> list[sqlite3.Row]:
    """The tasks of a run, parents before their children."""
    return connection.execute("SELECT * FROM tasks WHERE run_id = ? ORDER BY number", (run_id,)).fetchall()


def finished_results(connection: sqlite3.Connection, run_id: str) -> dict[str, TaskResult]:
    """What the SUCCEEDED and cached tasks of a run gave, by path: they need not run again."""
    rows = connection.execute(
        "SELECT path, result FROM tasks WHERE run_id = ? AND (state = ? OR cached_task_id IS NOT NULL)",
        (run_id, RuntimeState.SUCCEEDED),
    )
    return {row["path"]: _read_result(connection, row["result"]) for row in rows}


def log_path_of(
    connection: sqlite3.Connection, run_id: str, node_id: str
) -> tuple[str | None, RuntimeState] | None:
    """Where a pod's log lies and the state of its task; ``None`` if the run has no such pod."""
    row = connection.execute(
        "SELECT pods.log_path, tasks.state, tasks.pod_name FROM pods "
        "JOIN tasks ON tasks.task_id = pods.task_id WHERE pods.run_id = ? AND pods.pod_name = ?",
        (run_id, node_id),
    ).fetchone()
    if row is None:
        return None
    # The log of an earlier attempt is complete, whatever the task does now.
    over = row["pod_name"] != node_id
    return row["log_path"], RuntimeState.FAILED if over else RuntimeState(row["state"])


def close_tasks(connection: sqlite3.Connection, run_id: str, state: RuntimeState, message: str) -> None:
    """End the tasks that a run left unfinished, because the process that ran them is gone."""
    rows = connection.execute(
        "SELECT * FROM tasks WHERE run_id = ? AND state IN (?, ?)",
        (run_id, RuntimeState.PENDING, RuntimeState.RUNNING),
    ).fetchall()
    finished_at = now_milliseconds() / 1000
    for row in rows:
        _end_row(connection, row, state, finished_at, message)
        store_mlmd.update_execution(
            connection, row["execution_id"], _execution_state(state, cached=False), {}
        )


def _create(connection: sqlite3.Connection, task: TaskCreated) -> None:
    contexts = _contexts(connection, task.kfp_run_id)
    existing = connection.execute(
        "SELECT execution_id FROM tasks WHERE task_id = ?", (str(task.task_id),)
    ).fetchone()
    if existing is None:
        name = f"run/{task.kfp_run_id}" if not task.path else None
        execution = store_mlmd.add_execution(connection, task.kind, name, contexts)
    else:
        execution = existing["execution_id"]
        store_mlmd.reset_execution(connection, execution, contexts)
        connection.execute("DELETE FROM tasks WHERE task_id = ?", (str(task.task_id),))
    parent = _parent_execution(connection, task.parent_task_id)
    store_mlmd.update_execution(
        connection,
        execution,
        ExecutionState.NEW,
        {
            "task_name": task.name if task.path else None,
            "display_name": task.display_name or None,
            "parent_dag_id": parent,
            "iteration_index": task.iteration,
            "iteration_count": task.iteration_count,
        },
        replace=True,
    )
    created_at = task.created_at.timestamp()
    connection.execute(
        "INSERT INTO tasks (run_id, task_id, parent_task_id, name, display_name, path, kind, iteration, "
        "execution_id, state, state_history, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            str(task.kfp_run_id),
            str(task.task_id),
            str(task.parent_task_id) if task.parent_task_id else None,
            task.name,
            task.display_name,
            task.path,
            task.kind,
            task.iteration,
            execution,
            RuntimeState.PENDING,
            json.dumps([{"update_time": rfc3339(created_at), "state": RuntimeState.PENDING}]),
            created_at,
        ),
    )


def _start(connection: sqlite3.Connection, start: TaskStarted) -> None:
    row = _task(connection, start.task_id)
    started_at = start.started_at.timestamp()
    entry: dict[str, Any] = {"update_time": rfc3339(started_at), "state": RuntimeState.RUNNING}
    if start.notes:
        # KFP allows a status beside a state that is not final; this one says what the task goes without.
        entry["error"] = {"code": int(Code.UNIMPLEMENTED), "message": " ".join(start.notes)}
    history = [*json.loads(row["state_history"]), entry]
    connection.execute(
        "UPDATE tasks SET state = ?, started_at = coalesce(started_at, ?), pod_name = ?, state_history = ? "
        "WHERE task_id = ?",
        (RuntimeState.RUNNING, started_at, start.pod_name, json.dumps(history), row["task_id"]),
    )
    if start.pod_name is not None:
        connection.execute(
            "INSERT OR REPLACE INTO pods (run_id, pod_name, task_id, log_path) VALUES (?, ?, ?, ?)",
            (
                row["run_id"],
                start.pod_name,
                row["task_id"],
                None if start.log_path is None else str(start.log_path),
            ),
        )
    store_mlmd.update_execution(
        connection,
        row["execution_id"],
        ExecutionState.RUNNING,
        {
            "inputs": dict(start.parameters),
            "pod_name": start.pod_name,
            "namespace": _namespace(connection, row["run_id"]) if start.pod_name else None,
            "iteration_count": start.iteration_count,
            "platform": dict(start.platform) or None,
        },
    )
    used = {key: _known_ids(artifacts) for key, artifacts in start.artifacts.items()}
    contexts = _contexts(connection, start.kfp_run_id)
    store_mlmd.link(connection, row["execution_id"], EventType.INPUT, used, contexts)


def _finish(connection: sqlite3.Connection, end: TaskFinished) -> dict[str, tuple[int, ...]]:
    row = _found(connection, end.task_id)
    if row is None or row["state"] not in (RuntimeState.PENDING, RuntimeState.RUNNING):
        # A cancel cut off what came before, or came just after it: there is nothing to end.
        return {}
    ids = {
        key: tuple(
            artifact.artifact_id
            if artifact.artifact_id is not None
            else store_mlmd.add_artifact(connection, artifact, key)
            for artifact in artifacts
        )
        for key, artifacts in end.result.artifacts.items()
    }
    _end_row(connection, row, end.state, end.finished_at.timestamp(), end.message)
    connection.execute(
        "UPDATE tasks SET exit_code = ?, fingerprint = ?, cached_task_id = ?, result = ? WHERE task_id = ?",
        (
            end.exit_code,
            end.fingerprint,
            str(end.cached_task_id) if end.cached_task_id else None,
            json.dumps({"parameters": dict(end.result.parameters), "artifacts": ids}),
            row["task_id"],
        ),
    )
    store_mlmd.update_execution(
        connection,
        row["execution_id"],
        _execution_state(end.state, cached=end.cached_task_id is not None),
        {
            "outputs": dict(end.result.parameters),
            "cache_fingerprint": end.fingerprint,
            "cached_execution_id": _cached_execution(connection, end.cached_task_id),
        },
    )
    if end.state is RuntimeState.SUCCEEDED:
        # A run that gets on is not what brings the backend down, however often that is stopped.
        connection.execute("UPDATE runs SET restarts = 0 WHERE run_id = ?", (row["run_id"],))
    if row["kind"] != "dag":
        # KFP links what a DAG gives only to the task inside that made it: a DAG has no output events.
        contexts = _contexts(connection, end.kfp_run_id)
        store_mlmd.link(connection, row["execution_id"], EventType.OUTPUT, ids, contexts)
    return ids


def _end_row(
    connection: sqlite3.Connection,
    row: sqlite3.Row,
    state: RuntimeState,
    finished_at: float,
    message: str | None,
) -> None:
    entry: dict[str, Any] = {"update_time": rfc3339(finished_at), "state": state}
    if message and state is RuntimeState.FAILED:
        entry["error"] = {"code": int(Code.INTERNAL), "message": message}
    connection.execute(
        "UPDATE tasks SET state = ?, finished_at = ?, message = ?, state_history = ? WHERE task_id = ?",
        (state, finished_at, message, json.dumps([*json.loads(row["state_history"]), entry]), row["task_id"]),
    )


def _find_cached(connection: sqlite3.Connection, fingerprint: str) -> CachedTask | None:
    row = connection.execute(
        "SELECT task_id, result FROM tasks WHERE fingerprint = ? AND state = ? "
        "ORDER BY finished_at DESC LIMIT 1",
        (fingerprint, RuntimeState.SUCCEEDED),
    ).fetchone()
    if row is None:
        return None
    return CachedTask(task_id=UUID(row["task_id"]), result=_read_result(connection, row["result"]))


def _read_result(connection: sqlite3.Connection, text: str | None) -> TaskResult:
    told = json.loads(text) if text else {"parameters": {}, "artifacts": {}}
    artifacts = {
        key: tuple(artifact for artifact in (store_mlmd.get_artifact(connection, i) for i in ids) if artifact)
        for key, ids in told["artifacts"].items()
    }
    return TaskResult(parameters=told["parameters"], artifacts=artifacts)


def _execution_state(state: RuntimeState, *, cached: bool) -> ExecutionState:
    if cached:
        return ExecutionState.CACHED
    return {
        RuntimeState.SUCCEEDED: ExecutionState.COMPLETE,
        RuntimeState.FAILED: ExecutionState.FAILED,
    }.get(state, ExecutionState.CANCELED)


def _task(connection: sqlite3.Connection, task_id: UUID) -> sqlite3.Row:
    row = _found(connection, task_id)
    if row is None:
        raise LookupError(f"task {task_id} was never said to be created")
    return row


def _found(connection: sqlite3.Connection, task_id: UUID) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM tasks WHERE task_id = ?", (str(task_id),)
    ).fetchone()
    return row


def _contexts(connection: sqlite3.Connection, kfp_run_id: UUID) -> tuple[int, int]:
    row = connection.execute(
        "SELECT pipeline_context_id, run_context_id FROM runs WHERE run_id = ?", (str(kfp_run_id),)
    ).fetchone()
    if row is None:
        raise LookupError(f"run {kfp_run_id} does not exist")
    return row[0], row[1]


def _namespace(connection: sqlite3.Connection, run_id: str) -> str:
    return str(connection.execute("SELECT namespace FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0])


def _parent_execution(connection: sqlite3.Connection, parent_task_id: UUID | None) -> int | None:
    return None if parent_task_id is None else int(_task(connection, parent_task_id)["execution_id"])


def _cached_execution(connection: sqlite3.Connection, task_id: UUID | None) -> str | None:
    if task_id is None:
        return None
    row = connection.execute("SELECT execution_id FROM tasks WHERE task_id = ?", (str(task_id),)).fetchone()
    # KFP keeps the id as text; the task itself may have been deleted with its run.
    return None if row is None else str(row[0])


def _known_ids(artifacts: tuple[StoredArtifact, ...]) -> tuple[int, ...]:
    return tuple(artifact.artifact_id for artifact in artifacts if artifact.artifact_id is not None)
