"""Experiments in the database: unique by display name, with a Default one that always exists."""

from __future__ import annotations

import sqlite3
from uuid import uuid4

from bridge.local.clock import now_seconds
from bridge.local.status import conflict, not_found
from bridge.local.store_listing import Listable

DEFAULT_EXPERIMENT = "Default"

EXPERIMENTS = Listable(
    table="experiments",
    key="experiment_id",
    fields={
        "id": "experiment_id",
        "experiment_id": "experiment_id",
        "name": "display_name",
        "display_name": "display_name",
        "description": "description",
        "namespace": "namespace",
        "created_at": "created_at",
        "last_run_created_at": "last_run_created_at",
        "storage_state": "storage_state",
    },
    times=frozenset({"created_at", "last_run_created_at"}),
)


def add_experiment(
    connection: sqlite3.Connection, display_name: str, description: str = "", namespace: str = ""
) -> sqlite3.Row:
    """A new experiment. Raises ``StatusError`` (409) if the name is taken."""
    try:
        row: sqlite3.Row = connection.execute(
            "INSERT INTO experiments (experiment_id, display_name, description, namespace, created_at) "
            "VALUES (?, ?, ?, ?, ?) RETURNING *",
            (str(uuid4()), display_name, description, namespace, now_seconds()),
        ).fetchone()
    except sqlite3.IntegrityError as error:
        raise conflict(f"The name {display_name} already exists. Please specify a new name") from error
    return row


def get_experiment(connection: sqlite3.Connection, experiment_id: str) -> sqlite3.Row:
    """The experiment with this id. Raises ``StatusError`` (404)."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM experiments WHERE experiment_id = ?", (experiment_id,)
    ).fetchone()
    if row is None:
        raise not_found("Experiment", experiment_id)
    return row


def default_experiment(connection: sqlite3.Connection) -> sqlite3.Row:
    """The experiment of runs that name none; made again should somebody have deleted it."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM experiments WHERE display_name = ?", (DEFAULT_EXPERIMENT,)
    ).fetchone()
    return row or add_experiment(connection, DEFAULT_EXPERIMENT, "The default experiment of the backend")


def set_experiment_storage(connection: sqlite3.Connection, experiment_id: str, storage_state: str) -> None:
    """Archive or restore an experiment. Archiving takes its runs along and disables its recurring runs;
    restoring leaves both, as in KFP. Raises ``StatusError`` (404)."""
    get_experiment(connection, experiment_id)
    connection.execute(
        "UPDATE experiments SET storage_state = ? WHERE experiment_id = ?", (storage_state, experiment_id)
    )
    if storage_state == "ARCHIVED":
        connection.execute(
            "UPDATE runs SET storage_state = 'ARCHIVED' WHERE experiment_id = ?", (experiment_id,)
        )
        connection.execute(
            "UPDATE recurring_runs SET enabled = 0, updated_at = ? WHERE experiment_id = ? AND enabled = 1",
            (now_seconds(), experiment_id),
        )


def delete_experiment(connection: sqlite3.Connection, experiment_id: str) -> None:
    """Delete an experiment and leave its runs, as KFP does."""
    get_experiment(connection, experiment_id)
    connection.execute("DELETE FROM experiments WHERE experiment_id = ?", (experiment_id,))
