"""The coming native shape of metadata as views over the one store, and tables for what callers add to it.

The driver writes its tasks, artifacts and events once (``store_tasks``, ``store_mlmd``); the views show
them as KFP's main branch would have kept them, so either shape can be served over any data directory:

- A loop's children belong to the loop itself and carry ``iteration_index``; there is no task between.
- A ``system.Metrics`` artifact is one artifact of type Metric for each of its entries.
- A DAG is linked to what it gives; ``store_tasks`` keeps that in the task's result.
- A task whose driver has not run is not there yet.

Ids are UUIDs of version 8 that hold the row's number, and the entry's for metrics.
"""

from __future__ import annotations

import json
import math
import sqlite3
from typing import Any

_TABLES = (
    "CREATE INDEX IF NOT EXISTS tasks_by_execution ON tasks (execution_id)",
    "CREATE INDEX IF NOT EXISTS tasks_by_parent ON tasks (parent_task_id)",
    "CREATE INDEX IF NOT EXISTS tasks_that_are_dags ON tasks (run_id) WHERE kind = 'dag'",
    "CREATE INDEX IF NOT EXISTS pods_by_task ON pods (task_id)",
    """CREATE TABLE IF NOT EXISTS native_tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    parent_task_id TEXT,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    type TEXT NOT NULL,
    state TEXT NOT NULL,
    iteration_index INTEGER,
    iteration_count INTEGER,
    scope_path TEXT NOT NULL,
    cache_fingerprint TEXT NOT NULL,
    create_time REAL NOT NULL,
    end_time REAL NOT NULL,
    body TEXT NOT NULL
) STRICT""",
    "CREATE INDEX IF NOT EXISTS native_tasks_by_run ON native_tasks (run_id)",
    "CREATE INDEX IF NOT EXISTS native_tasks_by_parent ON native_tasks (parent_task_id)",
    """CREATE TABLE IF NOT EXISTS native_artifacts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    uri TEXT NOT NULL,
    description TEXT NOT NULL,
    namespace TEXT NOT NULL,
    metadata TEXT NOT NULL,
    number_value REAL,
    created_at REAL NOT NULL
) STRICT""",
    """CREATE TABLE IF NOT EXISTS native_artifact_tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    artifact_id TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    task_id TEXT NOT NULL,
    type TEXT NOT NULL,
    key TEXT NOT NULL,
    producer_task TEXT NOT NULL,
    producer_iteration INTEGER
) STRICT""",
    "CREATE INDEX IF NOT EXISTS native_artifact_tasks_by_run ON native_artifact_tasks (run_id)",
    "CREATE INDEX IF NOT EXISTS native_artifact_tasks_by_task ON native_artifact_tasks (task_id)",
)

# An iteration of a loop over a DAG: the native shape has no such task.
_IS_ITERATION = "({0}.kind = 'dag' AND {0}.iteration IS NOT NULL)"
_ITERATION = f"coalesce(task.iteration, CASE WHEN {_IS_ITERATION.format('parent')} THEN parent.iteration END)"

_TASK_VIEW = f"""CREATE VIEW native_task_list AS
SELECT task.number AS number, task.task_id AS task_id, task.run_id AS run_id,
    CASE WHEN {_IS_ITERATION.format("parent")} THEN parent.parent_task_id
        ELSE task.parent_task_id END AS parent_task_id,
    CASE task.path WHEN '' THEN 'ROOT' ELSE task.name END AS name,
    task.display_name AS display_name,
    CASE WHEN task.path = '' THEN 'ROOT'
        WHEN task.kind = 'importer' THEN 'IMPORTER'
        WHEN task.kind = 'container' THEN 'RUNTIME'
        WHEN execution.custom_properties ->> '$.iteration_count' IS NOT NULL
            OR task.name LIKE 'for-loop-%' THEN 'LOOP'
        WHEN task.name LIKE 'condition-branches-%' THEN 'CONDITION_BRANCH'
        WHEN task.name LIKE 'condition-%' THEN 'CONDITION'
        WHEN task.name LIKE 'exit-handler-%' THEN 'EXIT_HANDLER'
        ELSE 'DAG' END AS type,
    CASE WHEN task.cached_task_id IS NOT NULL THEN 'CACHED'
        WHEN task.state IN ('RUNNING', 'SUCCEEDED', 'SKIPPED', 'FAILED') THEN task.state
        WHEN task.state = 'CANCELED' THEN 'FAILED'
        ELSE 'RUNNING' END AS state,
    {_ITERATION} AS iteration_index,
    CASE task.kind WHEN 'dag' THEN execution.custom_properties ->> '$.iteration_count' END
        AS iteration_count,
    coalesce(task.fingerprint, '') AS cache_fingerprint,
    task.created_at AS create_time, coalesce(task.finished_at, 0.0) AS end_time,
    task.path AS path, task.pod_name AS pod_name, task.state_history AS state_history,
    task.message AS message, execution.custom_properties AS properties, NULL AS body
FROM tasks AS task
JOIN mlmd_executions AS execution ON execution.id = task.execution_id
LEFT JOIN tasks AS parent ON parent.task_id = task.parent_task_id
WHERE task.state <> 'PENDING' AND NOT {_IS_ITERATION.format("task")}
UNION ALL
SELECT number, task_id, run_id, parent_task_id, name, display_name, type, state, iteration_index,
    iteration_count, cache_fingerprint, create_time, end_time, NULL, NULL, NULL, NULL, NULL, body
FROM native_tasks"""  # noqa: S608

# One row for each artifact, for metrics one for each entry: a list of one stands for all the rest.
_PIECES = """JOIN mlmd_types AS type ON type.id = artifact.type_id
JOIN json_each(CASE WHEN type.name <> 'system.Metrics' THEN '[0]'
    WHEN json_valid(artifact.metadata) THEN artifact.metadata
    ELSE plain_json(artifact.metadata) END) AS piece
    ON type.name <> 'system.Metrics' OR piece.type <> 'null'"""
_PART = "CASE type.name WHEN 'system.Metrics' THEN piece.id ELSE 0 END"
_ARTIFACT_ID = f"printf('%08x-0000-8001-8000-%012x', {_PART}, artifact.id)"

_RECORDED_ARTIFACTS = f"""CREATE VIEW native_recorded_artifacts AS
SELECT artifact.id AS number, {_ARTIFACT_ID} AS artifact_id,
    CASE type.name WHEN 'system.Metrics' THEN piece.key
        ELSE coalesce(artifact.custom_properties ->> '$.display_name', artifact.name, '') END AS name,
    CASE type.name WHEN 'system.Metrics' THEN 'Metric' WHEN 'system.Model' THEN 'Model'
        WHEN 'system.Dataset' THEN 'Dataset' WHEN 'system.HTML' THEN 'HTML'
        WHEN 'system.Markdown' THEN 'Markdown'
        WHEN 'system.ClassificationMetrics' THEN 'ClassificationMetric'
        WHEN 'system.SlicedClassificationMetrics' THEN 'SlicedClassificationMetric'
        ELSE 'Artifact' END AS type,
    CASE WHEN type.name LIKE '%Metrics' THEN '' ELSE coalesce(artifact.uri, '') END AS uri,
    '' AS description, '' AS namespace,
    CASE type.name WHEN 'system.Metrics' THEN json_object(piece.key,
        CASE piece.type WHEN 'true' THEN json('true') WHEN 'false' THEN json('false')
        WHEN 'object' THEN json(piece.value) WHEN 'array' THEN json(piece.value) ELSE piece.value END)
        ELSE artifact.metadata END AS metadata,
    CASE WHEN type.name = 'system.Metrics' AND piece.type IN ('integer', 'real', 'true', 'false')
        THEN piece.value END AS number_value,
    artifact.create_time / 1000.0 AS created_at, artifact.update_time / 1000.0 AS last_update
FROM mlmd_artifacts AS artifact {_PIECES}"""  # noqa: S608
_ARTIFACT_VIEW = """CREATE VIEW native_artifact_list AS SELECT * FROM native_recorded_artifacts
UNION ALL
SELECT number, artifact_id, name, type, uri, description, namespace, metadata, number_value, created_at,
    created_at
FROM native_artifacts"""

# What the path of an artifact's maker begins with tells whether a sibling gave it or the parent.
_MAKER = """(SELECT maker.path FROM mlmd_events AS made
    JOIN tasks AS maker ON maker.execution_id = made.execution_id
    WHERE made.artifact_id = artifact.id AND made.type = 4 AND maker.run_id = task.run_id
    ORDER BY made.number LIMIT 1)"""
# Written out wherever it is used, so that SQLite can look for the tasks it was asked for first.
_BELOW = f"CASE parent.path WHEN '' THEN {_MAKER} ELSE substr({_MAKER}, length(parent.path) + 2) END"
_INPUT_TYPE = f"""CASE WHEN parent.path IS NULL OR {_MAKER} IS NULL OR (parent.path <> ''
        AND substr({_MAKER}, 1, length(parent.path) + 1) <> parent.path || '.') THEN 'COMPONENT_INPUT'
    WHEN instr({_BELOW}, '[') BETWEEN 1 AND instr({_BELOW} || '.', '.') THEN 'COLLECTED_INPUTS'
    ELSE 'TASK_OUTPUT_INPUT' END"""

_LEAF_LINKS = f"""CREATE VIEW native_leaf_links AS
SELECT printf('%08x-0000-8002-8000-%012x', {_PART}, event.number) AS id, {_ARTIFACT_ID} AS artifact_id,
    task.run_id AS run_id, task.task_id AS task_id,
    CASE WHEN event.type = 3 THEN {_INPUT_TYPE}
        WHEN {_ITERATION} IS NOT NULL THEN 'ITERATOR_OUTPUT' ELSE 'OUTPUT' END AS type,
    event.key AS key, task.name AS name, parent.path AS scope, {_MAKER} AS maker,
    {_ITERATION} AS iteration, event.number AS number, event.position AS position,
    event.type AS direction, NULL AS producer_task
FROM tasks AS task
LEFT JOIN tasks AS parent ON parent.task_id = task.parent_task_id
JOIN mlmd_events AS event ON event.execution_id = task.execution_id
JOIN mlmd_artifacts AS artifact ON artifact.id = event.artifact_id {_PIECES}
WHERE task.state <> 'PENDING' AND NOT {_IS_ITERATION.format("task")}"""  # noqa: S608
_DAG_LINKS = f"""CREATE VIEW native_dag_links AS
SELECT printf('%08x-%04x-8003-8%03x-%012x', {_PART}, slot.id, given.key, task.number) AS id,
    {_ARTIFACT_ID} AS artifact_id, task.run_id AS run_id,
    CASE WHEN {_IS_ITERATION.format("task")} THEN task.parent_task_id ELSE task.task_id END AS task_id,
    CASE WHEN {_IS_ITERATION.format("task")} THEN 'ITERATOR_OUTPUT'
        WHEN task.name LIKE 'condition-branches-%' THEN 'ONE_OF_OUTPUT' ELSE 'OUTPUT' END AS type,
    slot.key AS key, task.name AS name, task.path AS scope, {_MAKER} AS maker,
    task.iteration AS iteration, task.number AS number, given.key AS position, NULL AS direction,
    NULL AS producer_task
FROM tasks AS task
JOIN json_each(CASE WHEN json_valid(task.result) THEN task.result ELSE plain_json(task.result) END,
    '$.artifacts') AS slot
JOIN json_each(slot.value) AS given
JOIN mlmd_artifacts AS artifact ON artifact.id = given.value {_PIECES}
WHERE task.kind = 'dag' AND task.result IS NOT NULL AND task.state <> 'PENDING' AND NOT EXISTS (
    SELECT 1 FROM tasks AS child
    WHERE child.parent_task_id = task.task_id AND {_IS_ITERATION.format("child")})"""  # noqa: S608
_SENT_LINKS = """CREATE VIEW native_sent_links AS
SELECT id, artifact_id, run_id, task_id, type, key, '' AS name, NULL AS scope, NULL AS maker,
    producer_iteration AS iteration, number, 0 AS position, NULL AS direction, producer_task
FROM native_artifact_tasks"""
_LINK_VIEW = """CREATE VIEW native_link_list AS SELECT * FROM native_leaf_links
UNION ALL SELECT * FROM native_dag_links UNION ALL SELECT * FROM native_sent_links"""

# As the view has it, but from the parents down, which their indexes make quick.
CHILDREN = f"""WITH wanted AS (SELECT value AS task_id FROM json_each(?))
SELECT task.number AS number, task.task_id AS task_id, task.name AS name, wanted.task_id AS parent_task_id
FROM wanted JOIN tasks AS task ON task.parent_task_id = wanted.task_id
WHERE task.state <> 'PENDING' AND NOT {_IS_ITERATION.format("task")}
UNION ALL
SELECT task.number, task.task_id, task.name, wanted.task_id
FROM wanted JOIN tasks AS parent ON parent.parent_task_id = wanted.task_id
JOIN tasks AS task ON task.parent_task_id = parent.task_id
WHERE {_IS_ITERATION.format("parent")} AND task.state <> 'PENDING' AND NOT {_IS_ITERATION.format("task")}
UNION ALL
SELECT task.number, task.task_id, task.name, wanted.task_id
FROM wanted JOIN native_tasks AS task ON task.parent_task_id = wanted.task_id
ORDER BY number"""  # noqa: S608

# In the order in which they are made: the later ones stand on the earlier.
_VIEWS = {
    "native_task_list": _TASK_VIEW,
    "native_recorded_artifacts": _RECORDED_ARTIFACTS,
    "native_artifact_list": _ARTIFACT_VIEW,
    "native_leaf_links": _LEAF_LINKS,
    "native_dag_links": _DAG_LINKS,
    "native_sent_links": _SENT_LINKS,
    "native_link_list": _LINK_VIEW,
}


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables where they are missing, and the views as this version wants them."""
    for statement in _TABLES:
        connection.execute(statement)
    for name, statement in _VIEWS.items():
        connection.execute(f"DROP VIEW IF EXISTS {name}")
        connection.execute(statement)


def plain_json(text: str | None) -> str:
    """JSON that SQLite can read: numbers that are not finite become texts, as protobuf writes them.

    The views call it; the store makes it known to every connection.
    """
    return json.dumps(_plain(json.loads(text or "{}")))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
