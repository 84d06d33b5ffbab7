"""Runs in the database: their rows and the changes of their state. What tasks did is in ``store_tasks``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.domain.states import RuntimeState
from bridge.local import store_mlmd
from bridge.local.clock import now_seconds, rfc3339
from bridge.local.status import Code, StatusError, invalid, not_found
from bridge.local.store_experiments import default_experiment, get_experiment
from bridge.local.store_listing import Listable
from bridge.local.store_pipelines import store_spec

RUNS = Listable(
    table="runs",
    key="run_id",
    fields={
        "id": "run_id",
        "run_id": "run_id",
        "name": "display_name",
        "display_name": "display_name",
        "description": "description",
        "namespace": "namespace",
        "experiment_id": "experiment_id",
        "recurring_run_id": "recurring_run_id",
        "pipeline_id": "pipeline_id",
        "created_at": "created_at",
        "scheduled_at": "scheduled_at",
        "finished_at": "finished_at",
        "storage_state": "storage_state",
        "state": "state",
        "status": "state",
        "state_history": "state_history",
    },
    times=frozenset({"created_at", "scheduled_at", "finished_at"}),
)
LIVE_STATES = (RuntimeState.PENDING, RuntimeState.RUNNING, RuntimeState.PAUSED, RuntimeState.CANCELING)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run that was asked for and checked, ready to be written down."""

    run_id: str
    display_name: str
    spec_text: str
    pipeline_name: str
    parameters: Mapping[str, Any]
    inline: bool
    experiment_id: str = ""
    description: str = ""
    namespace: str = ""
    service_account: str = ""
    pipeline_id: str = ""
    pipeline_version_id: str = ""
    pipeline_root: str = ""
    recurring_run_id: str = ""
    scheduled_at: int | None = None


def add_run(connection: sqlite3.Connection, run: NewRun) -> sqlite3.Row:
    """Write a PENDING run. Raises ``StatusError``: 404 no such experiment; 500 the run_id is taken, which is
    how KFP answers when its insert fails."""
    experiment = (
        get_experiment(connection, run.experiment_id) if run.experiment_id else default_experiment(connection)
    )
    now = now_seconds()
    pipeline_context, run_context = store_mlmd.contexts_of_run(
        connection, run.pipeline_name, run.run_id, run.namespace
    )
    history = json.dumps([{"update_time": rfc3339(now), "state": RuntimeState.PENDING}])
    try:
        row: sqlite3.Row = connection.execute(
            "INSERT INTO runs (run_id, display_name, description, namespace, experiment_id, service_account, "
            "pipeline_id, pipeline_version_id, spec_id, inline_spec, parameters, pipeline_root, created_at, "
            "scheduled_at, recurring_run_id, state, state_history, pipeline_context_id, run_context_id) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                run.run_id,
                run.display_name,
                run.description,
                run.namespace,
                experiment["experiment_id"],
                run.service_account,
                run.pipeline_id,
                run.pipeline_version_id,
                store_spec(connection, run.spec_text),
                int(run.inline),
                json.dumps(dict(run.parameters)),
                run.pipeline_root,
                now,
                now if run.scheduled_at is None else run.scheduled_at,
                run.recurring_run_id,
                RuntimeState.PENDING,
                history,
                pipeline_context,
                run_context,
            ),
        ).fetchone()
    except sqlite3.IntegrityError as error:
        raise StatusError(
            Code.INTERNAL, f"Failed to create a run: a run with run_id {run.run_id} already exists"
        ) from error
    connection.execute(
        "UPDATE experiments SET last_run_created_at = ? WHERE experiment_id = ?",
        (now, experiment["experiment_id"]),
    )
    return row


def get_run(connection: sqlite3.Connection, run_id: str) -> sqlite3.Row:
    """The run with this id. Raises ``StatusError`` (404)."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise not_found("Run", run_id)
    return row


def set_run_state(
    connection: sqlite3.Connection, run_id: str, state: RuntimeState, error: str | None = None
) -> None:
    """Record a state, with the time it began; a terminal one also sets ``finished_at``."""
    now = now_seconds()
    row = get_run(connection, run_id)
    entry: dict[str, Any] = {"update_time": rfc3339(now), "state": state}
    if error:
        entry["error"] = {"code": int(Code.INTERNAL), "message": error}
    history = [*json.loads(row["state_history"]), entry]
    connection.execute(
        "UPDATE runs SET state = ?, error = ?, finished_at = ?, state_history = ? WHERE run_id = ?",
        (state, error, now if state.is_terminal else 0, json.dumps(history), run_id),
    )


def begin_termination(connection: sqlite3.Connection, run_id: str) -> None:
    """Mark a run CANCELING. Raises ``StatusError``: 404; 400 from a state that cannot be terminated."""
    state = RuntimeState(get_run(connection, run_id)["state"])
    if not state.can_be_terminated:
        raise invalid(
            f"Failed to terminate the run {run_id}: its state is {state}, and only a run that is PENDING, "
            "RUNNING or PAUSED can be terminated"
        )
    set_run_state(connection, run_id, RuntimeState.CANCELING)


def begin_retry(connection: sqlite3.Connection, run_id: str) -> None:
    """Make an ended run PENDING again. Raises ``StatusError``: 404; 400 unless it FAILED or was CANCELED."""
    state = RuntimeState(get_run(connection, run_id)["state"])
    if state not in (RuntimeState.FAILED, RuntimeState.CANCELED):
        raise invalid(
            f"Failed to retry the run {run_id}: its state is {state}, and only a run that FAILED or was "
            "CANCELED can be retried"
        )
    connection.execute("UPDATE runs SET retries = retries + 1 WHERE run_id = ?", (run_id,))
    set_run_state(connection, run_id, RuntimeState.PENDING)


def set_run_storage(connection: sqlite3.Connection, run_id: str, storage_state: str) -> None:
    """Archive or restore a run. Raises ``StatusError``: 404; 400: its experiment is archived and has to be
    restored first."""
    run = get_run(connection, run_id)
    if storage_state == "AVAILABLE":
        experiment = get_experiment(connection, run["experiment_id"])
        if experiment["storage_state"] == "ARCHIVED":
            raise StatusError(
                Code.FAILED_PRECONDITION,
                f"Failed to unarchive run {run_id} as experiment {run['experiment_id']} must be un-archived "
                "first",
            )
    connection.execute("UPDATE runs SET storage_state = ? WHERE run_id = ?", (storage_state, run_id))


def delete_run(connection: sqlite3.Connection, run_id: str) -> None:
    """Forget a run and its tasks; its artifacts and their metadata stay, as in KFP."""
    get_run(connection, run_id)
    connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))


def unfinished_runs(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    """The runs that a backend which stopped has left behind, oldest first."""
    marks = ", ".join("?" for _ in LIVE_STATES)
    return connection.execute(
        f"SELECT run_id, state FROM runs WHERE state IN ({marks}) ORDER BY number",  # noqa: S608
        LIVE_STATES,
    ).fetchall()


def continue_run(connection: sqlite3.Connection, run_id: str) -> int:
    """Queue a run again that was going on when the backend stopped; returns how often that has happened."""
    row = connection.execute(
        "UPDATE runs SET retries = retries + 1, restarts = restarts + 1 WHERE run_id = ? RETURNING restarts",
        (run_id,),
    ).fetchone()
    set_run_state(connection, run_id, RuntimeState.PENDING)
    return int(row[0])


def begin_execution(connection: sqlite3.Connection, run_id: str) -> bool:
    """Mark a run RUNNING; ``False`` if it is no longer PENDING (terminated, deleted) and must not begin."""
    row = connection.execute("SELECT state FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None or row["state"] != RuntimeState.PENDING:
        return False
    set_run_state(connection, run_id, RuntimeState.RUNNING)
    return True


def end_run(
    connection: sqlite3.Connection, run_id: str, state: RuntimeState, error: str | None = None
) -> None:
    """Record how a run ended, once, unless it was deleted meanwhile."""
    row = connection.execute("SELECT state FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is not None and not RuntimeState(row["state"]).is_terminal:
        set_run_state(connection, run_id, state, error)


def is_canceling(connection: sqlite3.Connection, run_id: str) -> bool:
    """Whether somebody asked for the run's termination."""
    row = connection.execute("SELECT state FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    return row is not None and row["state"] == RuntimeState.CANCELING
