"""The tables of the local backend. Times: whole seconds for KFP's own fields, milliseconds for MLMD's."""

from __future__ import annotations

import sqlite3

SCHEMA_VERSION = 2

_TABLES = """
CREATE TABLE experiments (
    experiment_id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL DEFAULT '',
    namespace TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    last_run_created_at INTEGER NOT NULL DEFAULT 0,
    storage_state TEXT NOT NULL DEFAULT 'AVAILABLE'
) STRICT;

CREATE TABLE pipelines (
    pipeline_id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    namespace TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    tags TEXT NOT NULL DEFAULT '{}'
) STRICT;

-- A spec is kept once, under the sha256 of its text, however many versions and runs use it.
CREATE TABLE specs (
    spec_id TEXT PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;

CREATE TABLE pipeline_versions (
    pipeline_version_id TEXT PRIMARY KEY,
    pipeline_id TEXT NOT NULL REFERENCES pipelines ON DELETE CASCADE,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    code_source_url TEXT NOT NULL DEFAULT '',
    spec_id TEXT NOT NULL REFERENCES specs,
    created_at INTEGER NOT NULL,
    tags TEXT NOT NULL DEFAULT '{}',
    UNIQUE (pipeline_id, name)
) STRICT;

CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    namespace TEXT NOT NULL DEFAULT '',
    experiment_id TEXT NOT NULL,
    storage_state TEXT NOT NULL DEFAULT 'AVAILABLE',
    service_account TEXT NOT NULL DEFAULT '',
    recurring_run_id TEXT NOT NULL DEFAULT '',
    pipeline_id TEXT,
    pipeline_version_id TEXT,
    spec_id TEXT NOT NULL REFERENCES specs,
    inline_spec INTEGER NOT NULL,
    parameters TEXT NOT NULL,
    retries INTEGER NOT NULL DEFAULT 0,
    restarts INTEGER NOT NULL DEFAULT 0,
    pipeline_root TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL,
    state_history TEXT NOT NULL,
    error TEXT,
    pipeline_context_id INTEGER NOT NULL,
    run_context_id INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_end ON runs (finished_at);
CREATE INDEX runs_by_creation ON runs (created_at, run_id);
CREATE INDEX runs_by_experiment ON runs (experiment_id);

CREATE TABLE tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    task_id TEXT NOT NULL UNIQUE,
    parent_task_id TEXT,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    path TEXT NOT NULL,
    kind TEXT NOT NULL,
    iteration INTEGER,
    execution_id INTEGER NOT NULL,
    pod_name TEXT,
    state TEXT NOT NULL,
    state_history TEXT NOT NULL,
    message TEXT,
    exit_code INTEGER,
    fingerprint TEXT,
    cached_task_id TEXT,
    result TEXT,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL
) STRICT;
CREATE INDEX tasks_by_run ON tasks (run_id);
CREATE INDEX tasks_by_fingerprint ON tasks (fingerprint) WHERE fingerprint IS NOT NULL;

-- Every attempt of a task has its own pod name and log, so that earlier attempts stay readable.
CREATE TABLE pods (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    pod_name TEXT NOT NULL,
    task_id TEXT NOT NULL,
    log_path TEXT,
    PRIMARY KEY (run_id, pod_name)
) STRICT, WITHOUT ROWID;

CREATE TABLE mlmd_types (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (kind, name)
) STRICT;

CREATE TABLE mlmd_contexts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    type_id INTEGER NOT NULL REFERENCES mlmd_types,
    name TEXT NOT NULL,
    parent_id INTEGER REFERENCES mlmd_contexts,
    custom_properties TEXT NOT NULL DEFAULT '{}',
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    UNIQUE (type_id, name)
) STRICT;

CREATE TABLE mlmd_executions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    type_id INTEGER NOT NULL REFERENCES mlmd_types,
    name TEXT,
    state INTEGER NOT NULL,
    custom_properties TEXT NOT NULL DEFAULT '{}',
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL
) STRICT;
CREATE INDEX mlmd_executions_by_update ON mlmd_executions (update_time, id);

CREATE TABLE mlmd_artifacts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    type_id INTEGER NOT NULL REFERENCES mlmd_types,
    name TEXT,
    uri TEXT,
    state INTEGER NOT NULL,
    custom_properties TEXT NOT NULL DEFAULT '{}',
    schema_version TEXT NOT NULL,
    metadata TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL
) STRICT;
CREATE INDEX mlmd_artifacts_by_update ON mlmd_artifacts (update_time, id);
CREATE INDEX mlmd_artifacts_by_uri ON mlmd_artifacts (uri);

CREATE TABLE mlmd_events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id INTEGER NOT NULL REFERENCES mlmd_executions ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES mlmd_artifacts ON DELETE CASCADE,
    type INTEGER NOT NULL,
    key TEXT NOT NULL,
    position INTEGER NOT NULL,
    time INTEGER NOT NULL,
    UNIQUE (execution_id, artifact_id, type, key, position)
) STRICT;
CREATE INDEX mlmd_events_by_artifact ON mlmd_events (artifact_id);

CREATE TABLE mlmd_associations (
    context_id INTEGER NOT NULL REFERENCES mlmd_contexts ON DELETE CASCADE,
    execution_id INTEGER NOT NULL REFERENCES mlmd_executions ON DELETE CASCADE,
    PRIMARY KEY (context_id, execution_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX mlmd_associations_by_execution ON mlmd_associations (execution_id);

CREATE TABLE mlmd_attributions (
    context_id INTEGER NOT NULL REFERENCES mlmd_contexts ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES mlmd_artifacts ON DELETE CASCADE,
    PRIMARY KEY (context_id, artifact_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX mlmd_attributions_by_artifact ON mlmd_attributions (artifact_id);
"""


# What each version added to the one before; a new database gets all of it.
_ADDED = {
    2: """
CREATE TABLE recurring_runs (
    recurring_run_id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    resource_name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    namespace TEXT NOT NULL DEFAULT '',
    experiment_id TEXT NOT NULL,
    service_account TEXT NOT NULL DEFAULT '',
    pipeline_id TEXT NOT NULL DEFAULT '',
    pipeline_version_id TEXT NOT NULL DEFAULT '',
    -- None: every run takes the pipeline's newest version.
    spec_id TEXT REFERENCES specs,
    parameters TEXT NOT NULL,
    pipeline_root TEXT NOT NULL DEFAULT '',
    max_concurrency INTEGER NOT NULL,
    no_catchup INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    cron TEXT NOT NULL DEFAULT '',
    interval_seconds INTEGER NOT NULL DEFAULT 0,
    starts_at INTEGER,
    ends_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_index INTEGER NOT NULL DEFAULT 0,
    last_due INTEGER,
    problem TEXT
) STRICT;
CREATE INDEX recurring_runs_by_experiment ON recurring_runs (experiment_id);
-- Lists are sorted by it, which a NULL would break.
UPDATE runs SET pipeline_id = coalesce(pipeline_id, '');
UPDATE runs SET pipeline_version_id = coalesce(pipeline_version_id, '');
CREATE INDEX runs_by_recurring_run ON runs (recurring_run_id) WHERE recurring_run_id <> '';
""",
}


def prepare(connection: sqlite3.Connection) -> None:
    """Bring a database to this version's tables; refuse one that a newer version wrote."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    if version > SCHEMA_VERSION:
        raise RuntimeError(
            f"the data directory was written by a newer version of the local backend "
            f"(schema {version}, this one is {SCHEMA_VERSION}): use another --data-dir or remove it"
        )
    steps = "" if version else _TABLES
    steps += "".join(text for number, text in sorted(_ADDED.items()) if number > version)
    connection.executescript(f"BEGIN;{steps}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")
