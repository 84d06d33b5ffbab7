"""What runs leave behind in the shape of ML Metadata, written as KFP's driver and launcher write it.

Types, names and custom properties follow ``backend/src/v2/metadata`` of KFP. Properties are kept as
JSON: a whole number is MLMD's ``int_value``, a float its ``double_value``, an object its ``struct_value``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from bridge.local.clock import now_milliseconds
from bridge.local.recording import StoredArtifact

PIPELINE = "system.Pipeline"
PIPELINE_RUN = "system.PipelineRun"
EXECUTION_TYPES = {
    "container": "system.ContainerExecution",
    "dag": "system.DAGExecution",
    "importer": "system.ImporterExecution",
}


class ExecutionState(IntEnum):
    """MLMD's Execution.State."""

    NEW = 1
    RUNNING = 2
    COMPLETE = 3
    FAILED = 4
    CACHED = 5
    CANCELED = 6


class EventType(IntEnum):
    """MLMD's Event.Type."""

    INPUT = 3
    OUTPUT = 4


ARTIFACT_LIVE = 2


def type_id(connection: sqlite3.Connection, kind: str, name: str) -> int:
    """The id of a context, execution or artifact type, made at first use."""
    row = connection.execute("SELECT id FROM mlmd_types WHERE kind = ? AND name = ?", (kind, name)).fetchone()
    if row is not None:
        return int(row[0])
    return _inserted(connection.execute("INSERT INTO mlmd_types (kind, name) VALUES (?, ?)", (kind, name)))


def contexts_of_run(
    connection: sqlite3.Connection, pipeline_name: str, run_id: str, namespace: str
) -> tuple[int, int]:
    """The ids of a run's two contexts, the pipeline's and its own, made at first use."""
    pipeline = _context(connection, PIPELINE, pipeline_name, None, {})
    run = _context(
        connection, PIPELINE_RUN, run_id, pipeline, {"namespace": namespace, "resource_name": pipeline_name}
    )
    return pipeline, run


def set_pipeline_root(connection: sqlite3.Connection, run_context: int, pipeline_root: str) -> None:
    """Note under which root a run writes, which is known once it starts."""
    connection.execute(
        "UPDATE mlmd_contexts SET custom_properties = json_set(custom_properties, '$.pipeline_root', ?), "
        "update_time = ? WHERE id = ?",
        (pipeline_root, now_milliseconds(), run_context),
    )


def add_execution(
    connection: sqlite3.Connection, kind: str, name: str | None, contexts: tuple[int, int]
) -> int:
    """A new execution of a task, in both contexts of its run."""
    now = now_milliseconds()
    execution = _inserted(
        connection.execute(
            "INSERT INTO mlmd_executions (type_id, name, state, create_time, update_time) "
            "VALUES (?, ?, ?, ?, ?)",
            (type_id(connection, "execution", EXECUTION_TYPES[kind]), name, ExecutionState.NEW, now, now),
        )
    )
    for context in contexts:
        connection.execute(
            "INSERT INTO mlmd_associations (context_id, execution_id) VALUES (?, ?)", (context, execution)
        )
    return execution


def reset_execution(connection: sqlite3.Connection, execution: int, contexts: tuple[int, int]) -> None:
    """Forget what an earlier life of a task used and made; artifacts nobody else used leave the contexts."""
    artifacts = [
        row[0]
        for row in connection.execute(
            "SELECT DISTINCT artifact_id FROM mlmd_events WHERE execution_id = ?", (execution,)
        )
    ]
    connection.execute("DELETE FROM mlmd_events WHERE execution_id = ?", (execution,))
    for artifact in artifacts:
        for context in contexts:
            connection.execute(
                "DELETE FROM mlmd_attributions WHERE artifact_id = ? AND context_id = ? AND NOT EXISTS ("
                "SELECT 1 FROM mlmd_events AS event JOIN mlmd_associations AS association "
                "ON association.execution_id = event.execution_id "
                "WHERE event.artifact_id = ? AND association.context_id = ?)",
                (artifact, context, artifact, context),
            )


def update_execution(
    connection: sqlite3.Connection,
    execution: int,
    state: ExecutionState,
    properties: Mapping[str, Any],
    *,
    replace: bool = False,
) -> None:
    """Set the state of an execution and add to its custom properties, or put them in their place."""
    kept: dict[str, Any] = {}
    if not replace:
        row = connection.execute(
            "SELECT custom_properties FROM mlmd_executions WHERE id = ?", (execution,)
        ).fetchone()
        kept = json.loads(row[0])
    kept.update({name: value for name, value in properties.items() if value is not None})
    connection.execute(
        "UPDATE mlmd_executions SET state = ?, custom_properties = ?, update_time = ? WHERE id = ?",
        (state, json.dumps(kept), now_milliseconds(), execution),
    )


def add_artifact(connection: sqlite3.Connection, artifact: StoredArtifact, key: str) -> int:
    """Store an artifact that a task made under an output key; returns its id."""
    now = now_milliseconds()
    return _inserted(
        connection.execute(
            "INSERT INTO mlmd_artifacts (type_id, name, uri, state, custom_properties, schema_version, "
            "metadata, create_time, update_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                type_id(connection, "artifact", artifact.schema_title),
                artifact.name or None,
                artifact.uri,
                ARTIFACT_LIVE,
                json.dumps(_artifact_properties(artifact, key)),
                artifact.schema_version,
                json.dumps(dict(artifact.metadata)),
                now,
                now,
            ),
        )
    )


def find_artifact(connection: sqlite3.Connection, artifact: StoredArtifact) -> int | None:
    """The newest artifact with the same uri, type and metadata."""
    rows = connection.execute(
        "SELECT artifact.id, artifact.metadata FROM mlmd_artifacts AS artifact "
        "JOIN mlmd_types AS type ON type.id = artifact.type_id "
        "WHERE artifact.uri = ? AND type.name = ? ORDER BY artifact.id DESC",
        (artifact.uri, artifact.schema_title),
    )
    wanted = dict(artifact.metadata)
    return next((int(row["id"]) for row in rows if json.loads(row["metadata"]) == wanted), None)


def get_artifact(connection: sqlite3.Connection, artifact_id: int) -> StoredArtifact | None:
    """A stored artifact as tasks hand it on."""
    row = connection.execute(
        "SELECT artifact.*, type.name AS type_name FROM mlmd_artifacts AS artifact "
        "JOIN mlmd_types AS type ON type.id = artifact.type_id WHERE artifact.id = ?",
        (artifact_id,),
    ).fetchone()
    if row is None:
        return None
    return StoredArtifact(
        schema_title=row["type_name"],
        uri=row["uri"] or "",
        name=row["name"] or "",
        schema_version=row["schema_version"],
        metadata=json.loads(row["metadata"]),
        artifact_id=artifact_id,
    )


def link(
    connection: sqlite3.Connection,
    execution: int,
    event: EventType,
    artifacts: Mapping[str, tuple[int, ...]],
    contexts: tuple[int, int],
) -> None:
    """Say that an execution used or made artifacts, by key and position, and put them in its contexts."""
    now = now_milliseconds()
    for key, ids in artifacts.items():
        for position, artifact in enumerate(ids):
            connection.execute(
                "INSERT OR IGNORE INTO mlmd_events (execution_id, artifact_id, type, key, position, time) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (execution, artifact, event, key, position, now),
            )
            for context in contexts:
                connection.execute(
                    "INSERT OR IGNORE INTO mlmd_attributions (context_id, artifact_id) VALUES (?, ?)",
                    (context, artifact),
                )


def _context(
    connection: sqlite3.Connection, kind: str, name: str, parent: int | None, properties: Mapping[str, Any]
) -> int:
    context_type = type_id(connection, "context", kind)
    row = connection.execute(
        "SELECT id FROM mlmd_contexts WHERE type_id = ? AND name = ?", (context_type, name)
    ).fetchone()
    if row is not None:
        return int(row[0])
    now = now_milliseconds()
    return _inserted(
        connection.execute(
            "INSERT INTO mlmd_contexts (type_id, name, parent_id, custom_properties, create_time, "
            "update_time) VALUES (?, ?, ?, ?, ?, ?)",
            (context_type, name, parent, json.dumps(dict(properties)), now, now),
        )
    )


def _artifact_properties(artifact: StoredArtifact, key: str) -> dict[str, Any]:
    # As KFP's StructValueToMLMDValue: numbers become doubles, booleans 0 or 1, lists and objects are wrapped.
    properties = {name: _property(value) for name, value in artifact.metadata.items() if value is not None}
    properties.setdefault("display_name", key)
    return properties


def _property(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            # No double is that large; the digits are better kept than the run failed.
            return str(value)
    if isinstance(value, list | tuple):
        return {"list": list(value)}
    if isinstance(value, Mapping):
        return {"struct": dict(value)}
    return value


def _inserted(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None, "an INSERT gives a row id"
    return cursor.lastrowid
