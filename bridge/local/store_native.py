"""Tasks, artifacts and their links in the coming native shape: listed, found, and added as sent."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from bridge.local.clock import rfc3339
from bridge.local.status import invalid, not_found
from bridge.local.store_listing import Listable
from bridge.local.store_native_schema import CHILDREN
from bridge.local.store_runs import get_run

TASKS = Listable(
    table="native_task_list",
    key="task_id",
    fields={
        "id": "task_id",
        "task_id": "task_id",
        "run_id": "run_id",
        "name": "name",
        "display_name": "display_name",
        "parent_task_id": "parent_task_id",
        "type": "type",
        "state": "state",
        "status": "state",
        "cache_fingerprint": "cache_fingerprint",
        "create_time": "create_time",
        "created_at": "create_time",
        "end_time": "end_time",
        "finished_at": "end_time",
    },
    times=frozenset({"create_time", "end_time"}),
)
ARTIFACTS = Listable(
    table="native_artifact_list",
    key="artifact_id",
    fields={
        "id": "artifact_id",
        "artifact_id": "artifact_id",
        "namespace": "namespace",
        "type": "type",
        "uri": "uri",
        "name": "name",
        "description": "description",
        "created_at": "created_at",
        "last_update": "last_update",
        "metadata": "metadata",
        "number_value": "number_value",
    },
    times=frozenset({"created_at", "last_update"}),
)
LINKS = Listable(
    table="native_link_list",
    key="id",
    fields={
        "id": "id",
        "artifact_id": "artifact_id",
        "run_id": "run_id",
        "task_id": "task_id",
        "type": "type",
        "key": "key",
    },
    times=frozenset(),
    default_sort="id",
)


# Tasks that are no DAG.
LEAVES = frozenset({"RUNTIME", "IMPORTER"})
_LINKS = "SELECT link.* FROM {} AS link WHERE link.task_id = wanted.value"


def tasks_of(connection: sqlite3.Connection, run_id: str) -> list[sqlite3.Row]:
    """The tasks of a run, in the order in which they were made."""
    return connection.execute(
        "SELECT * FROM native_task_list WHERE run_id = ? ORDER BY create_time, number", (run_id,)
    ).fetchall()


def count_tasks(connection: sqlite3.Connection, run_id: str) -> int:
    """How many tasks a run has."""
    query = "SELECT COUNT(*) FROM native_task_list WHERE run_id = ?"
    return int(connection.execute(query, (run_id,)).fetchone()[0])


def get_task(connection: sqlite3.Connection, task_id: str, run_id: str | None = None) -> sqlite3.Row:
    """A task by its id. Raises ``StatusError``: 404; 400 if it belongs to another run than ``run_id``."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM native_task_list WHERE task_id = ?", (task_id,)
    ).fetchone()
    if row is None:
        raise not_found("Task", task_id)
    if run_id is not None and row["run_id"] != run_id:
        raise invalid(f"Task {task_id} does not belong to the run {run_id}")
    return row


def find_cached_task(connection: sqlite3.Connection, fingerprint: str) -> sqlite3.Row | None:
    """The newest SUCCEEDED task with this fingerprint."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM native_task_list WHERE cache_fingerprint = ? AND state = 'SUCCEEDED' "
        "ORDER BY create_time DESC, number DESC LIMIT 1",
        (fingerprint,),
    ).fetchone()
    return row


def get_artifact(connection: sqlite3.Connection, artifact_id: str) -> sqlite3.Row:
    """An artifact by its id. Raises ``StatusError`` (404)."""
    # A number that is asked for with the id saves looking through all of them.
    created = connection.execute(
        "SELECT number FROM native_artifacts WHERE artifact_id = ?", (artifact_id,)
    ).fetchone()
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM native_artifact_list WHERE artifact_id = ? AND number = ?",
        (artifact_id, _number_in(artifact_id) if created is None else created["number"]),
    ).fetchone()
    if row is None:
        raise not_found("Artifact", artifact_id)
    return row


def links_of(
    connection: sqlite3.Connection, run_id: str, tasks: Sequence[sqlite3.Row]
) -> list[tuple[sqlite3.Row, sqlite3.Row]]:
    """The links of some tasks of a run, in the order of their making, each with its artifact."""
    task_ids = {task["task_id"] for task in tasks}
    wanted = json.dumps(sorted(task_ids))
    # Each view is asked from the side on which it has an index: a run has few DAGs that give artifacts.
    links = [
        *connection.execute(_LINKS.format("json_each(?) AS wanted CROSS JOIN native_leaf_links"), (wanted,)),
        *connection.execute(_LINKS.format("json_each(?) AS wanted CROSS JOIN native_sent_links"), (wanted,)),
    ]
    if any(task["type"] not in LEAVES for task in tasks):
        given = connection.execute("SELECT * FROM native_dag_links WHERE run_id = ?", (run_id,))
        links += [link for link in given if link["task_id"] in task_ids]
    links.sort(key=lambda link: (link["iteration"] or 0, link["number"], link["position"], link["id"]))
    artifacts = _artifacts(connection, {link["artifact_id"] for link in links})
    return [(link, artifacts[link["artifact_id"]]) for link in links if link["artifact_id"] in artifacts]


def _artifacts(connection: sqlite3.Connection, artifact_ids: set[str]) -> dict[str, sqlite3.Row]:
    numbers = sorted({_number_in(one) for one in artifact_ids})
    recorded = connection.execute(
        "SELECT artifact.* FROM json_each(?) AS wanted CROSS JOIN native_recorded_artifacts AS artifact "
        "WHERE artifact.number = wanted.value",
        (json.dumps(numbers),),
    )
    found = {row["artifact_id"]: row for row in recorded if row["artifact_id"] in artifact_ids}
    return found | {one: get_artifact(connection, one) for one in artifact_ids - set(found)}


def pods_of(connection: sqlite3.Connection, task_ids: Sequence[str]) -> dict[str, list[str]]:
    """The pods of some tasks, the first attempt's first as far as their names tell."""
    rows = connection.execute(
        "SELECT task_id, pod_name FROM pods WHERE task_id IN (SELECT value FROM json_each(?)) "
        "ORDER BY pod_name",
        (json.dumps(task_ids),),
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["task_id"], []).append(row["pod_name"])
    return found


def children_of(connection: sqlite3.Connection, task_ids: Sequence[str]) -> dict[str, list[sqlite3.Row]]:
    """The children of some tasks, names and ids alone: of loops, what runs in their iterations."""
    found: dict[str, list[sqlite3.Row]] = {}
    for row in connection.execute(CHILDREN, (json.dumps(task_ids),)):
        found.setdefault(row["parent_task_id"], []).append(row)
    return found


def add_task(connection: sqlite3.Connection, run_id: str, body: Mapping[str, Any]) -> sqlite3.Row:
    """A task that a caller sends, or the one there is already with the same name, place and iteration.

    Raises ``StatusError`` (404) if there is no such run.
    """
    get_run(connection, run_id)
    attributes = body.get("type_attributes") or {}
    iteration = _whole(attributes.get("iteration_index"))
    place = (body.get("scope_path", ""), body["name"], body.get("parent_task_id"), iteration)
    if body.get("scope_path"):
        same = connection.execute(
            "SELECT task_id FROM native_tasks WHERE run_id = ? AND scope_path = ? AND name = ? "
            "AND parent_task_id IS ? AND iteration_index IS ?",
            (run_id, *place),
        ).fetchone()
        if same is not None:
            return get_task(connection, same["task_id"])
    task_id = str(uuid4())
    connection.execute(
        "INSERT INTO native_tasks (task_id, run_id, parent_task_id, name, display_name, type, state, "
        "iteration_index, iteration_count, scope_path, cache_fingerprint, create_time, end_time, body) "
        "VALUES (?, ?, NULL, '', '', '', '', NULL, NULL, '', '', ?, 0, '{}')",
        (task_id, run_id, time.time()),
    )
    _write_task(connection, task_id, body)
    return get_task(connection, task_id)


def change_task(
    connection: sqlite3.Connection, run_id: str, task_id: str, change: Mapping[str, Any]
) -> sqlite3.Row:
    """Change a task that a caller had made: what is sent takes the place of what there was.

    Raises ``StatusError``: 404; 400 for a task of another run, and for one that this backend itself runs.
    """
    row = get_task(connection, task_id, run_id)
    if row["body"] is None:
        raise invalid(f"Task {task_id} is run by this backend, and its driver alone changes it")
    _write_task(connection, task_id, _changed(json.loads(row["body"]), change))
    return get_task(connection, task_id)


def add_artifact(
    connection: sqlite3.Connection,
    artifact: Mapping[str, Any],
    link: Mapping[str, Any],
    *,
    reuse: bool,
) -> sqlite3.Row:
    """An artifact with the link to the task that made it; with ``reuse`` the same one that is there."""
    values = (
        artifact["name"],
        artifact["type"],
        artifact.get("uri", ""),
        artifact.get("description", ""),
        artifact.get("namespace", ""),
        json.dumps(artifact.get("metadata") or {}, sort_keys=True),
        artifact.get("number_value"),
    )
    same = (
        connection.execute(
            "SELECT artifact_id FROM native_artifacts WHERE name = ? AND type = ? AND uri = ? "
            "AND description = ? AND namespace = ? AND metadata = ? AND number_value IS ? LIMIT 1",
            values,
        ).fetchone()
        if reuse
        else None
    )
    artifact_id = str(uuid4()) if same is None else same["artifact_id"]
    if same is None:
        connection.execute(
            "INSERT INTO native_artifacts (artifact_id, name, type, uri, description, namespace, metadata, "
            "number_value, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (artifact_id, *values, time.time()),
        )
    add_link(connection, {**link, "artifact_id": artifact_id})
    return get_artifact(connection, artifact_id)


def add_link(connection: sqlite3.Connection, link: Mapping[str, Any]) -> sqlite3.Row:
    """A link between a task and an artifact."""
    made = str(uuid4())
    producer = link.get("producer") or {}
    connection.execute(
        "INSERT INTO native_artifact_tasks (id, artifact_id, run_id, task_id, type, key, producer_task, "
        "producer_iteration) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            made,
            link["artifact_id"],
            link["run_id"],
            link["task_id"],
            link["type"],
            link["key"],
            producer.get("task_name", ""),
            _whole(producer.get("iteration")),
        ),
    )
    row: sqlite3.Row = connection.execute(
        "SELECT * FROM native_link_list WHERE run_id = ? AND id = ?", (link["run_id"], made)
    ).fetchone()
    return row


def _write_task(connection: sqlite3.Connection, task_id: str, body: Mapping[str, Any]) -> None:
    attributes = body.get("type_attributes") or {}
    connection.execute(
        "UPDATE native_tasks SET parent_task_id = ?, name = ?, display_name = ?, type = ?, state = ?, "
        "iteration_index = ?, iteration_count = ?, scope_path = ?, cache_fingerprint = ?, body = ? "
        "WHERE task_id = ?",
        (
            body.get("parent_task_id"),
            body["name"],
            body.get("display_name", ""),
            body.get("type", ""),
            body.get("state", ""),
            _whole(attributes.get("iteration_index")),
            _whole(attributes.get("iteration_count")),
            body.get("scope_path", ""),
            body.get("cache_fingerprint", ""),
            json.dumps(body),
            task_id,
        ),
    )


def _changed(task: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in change.items() if name not in ("task_id", "run_id")}
    if told.get("state", task.get("state")) != task.get("state"):
        entry = {"update_time": rfc3339(time.time()), "state": told["state"]}
        told.setdefault("state_history", [*task.get("state_history", []), entry])
    if "parameters" in (told.get("outputs") or {}):
        # What iterations give is gathered; any other output is there once.
        kept = {_output_key(one): one for one in (task.get("outputs") or {}).get("parameters", [])}
        kept.update({_output_key(one): one for one in told["outputs"]["parameters"]})
        told["outputs"] = {"parameters": list(kept.values())}
    return {**task, **told}


def _output_key(parameter: Mapping[str, Any]) -> tuple[str, str]:
    producer = parameter.get("producer") or {}
    return parameter.get("parameter_key", ""), str(producer.get("iteration", ""))


def _number_in(artifact_id: str) -> int:
    tail = artifact_id.rpartition("-")[2]
    return int(tail, 16) if len(tail) == 12 and set(tail) <= set("0123456789abcdef") else -1


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
