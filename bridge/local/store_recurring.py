"""Recurring runs in the database, and the runs that they make."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4, uuid5

from bridge.local.clock import now_seconds
from bridge.local.schedules import Trigger
from bridge.local.status import not_found
from bridge.local.store_experiments import default_experiment, get_experiment
from bridge.local.store_listing import Listable
from bridge.local.store_pipelines import store_spec
from bridge.local.store_runs import LIVE_STATES

RECURRING_RUNS = Listable(
    table="recurring_runs",
    key="recurring_run_id",
    fields={
        "id": "recurring_run_id",
        "recurring_run_id": "recurring_run_id",
        "name": "display_name",
        "display_name": "display_name",
        "description": "description",
        "created_at": "created_at",
        "updated_at": "updated_at",
    },
    times=frozenset({"created_at", "updated_at"}),
)
# As KFP cuts the name of the Kubernetes resource, which the names of the runs begin with.
_RESOURCE_NAME_CHARACTERS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecurringRun:
    """A recurring run that was asked for and checked. ``spec_text`` is ``None`` for one that takes the
    pipeline's newest version at every time."""

    display_name: str
    trigger: Trigger
    parameters: Mapping[str, Any]
    max_concurrency: int
    enabled: bool
    no_catchup: bool = False
    description: str = ""
    namespace: str = ""
    experiment_id: str = ""
    service_account: str = ""
    pipeline_id: str = ""
    pipeline_version_id: str = ""
    spec_text: str | None = None
    pipeline_root: str = ""


def add_recurring_run(connection: sqlite3.Connection, new: NewRecurringRun) -> sqlite3.Row:
    """Write it down. Raises ``StatusError`` (404): no such experiment."""
    experiment = (
        get_experiment(connection, new.experiment_id) if new.experiment_id else default_experiment(connection)
    )
    now = now_seconds()
    recurring_run_id = str(uuid4())
    values = {
        "recurring_run_id": recurring_run_id,
        "display_name": new.display_name,
        "resource_name": _resource_name(new.display_name, recurring_run_id),
        "description": new.description,
        "namespace": new.namespace,
        "experiment_id": experiment["experiment_id"],
        "service_account": new.service_account,
        "pipeline_id": new.pipeline_id,
        "pipeline_version_id": new.pipeline_version_id,
        "spec_id": None if new.spec_text is None else store_spec(connection, new.spec_text),
        "parameters": json.dumps(dict(new.parameters)),
        "pipeline_root": new.pipeline_root,
        "max_concurrency": new.max_concurrency,
        "no_catchup": int(new.no_catchup),
        "enabled": int(new.enabled),
        "cron": new.trigger.cron,
        "interval_seconds": new.trigger.interval_seconds,
        "starts_at": new.trigger.start,
        "ends_at": new.trigger.end,
        "created_at": now,
        "updated_at": now,
    }
    row: sqlite3.Row = connection.execute(
        f"INSERT INTO recurring_runs ({', '.join(values)}) "  # noqa: S608
        f"VALUES ({', '.join('?' for _ in values)}) RETURNING *",
        tuple(values.values()),
    ).fetchone()
    return row


def get_recurring_run(connection: sqlite3.Connection, recurring_run_id: str) -> sqlite3.Row:
    """The recurring run with this id. Raises ``StatusError`` (404)."""
    row = find_recurring_run(connection, recurring_run_id)
    if row is None:
        raise not_found("Recurring run", recurring_run_id)
    return row


def find_recurring_run(connection: sqlite3.Connection, recurring_run_id: str) -> sqlite3.Row | None:
    """The recurring run with this id, if there is one."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM recurring_runs WHERE recurring_run_id = ?", (recurring_run_id,)
    ).fetchone()
    return row


def enabled_recurring_runs(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    """Those that may be due, each with the number of its runs that are not over as ``active``."""
    marks = ", ".join("?" for _ in LIVE_STATES)
    return connection.execute(
        "SELECT *, (SELECT COUNT(*) FROM runs WHERE runs.recurring_run_id <> '' AND "  # noqa: S608
        f"runs.recurring_run_id = recurring_runs.recurring_run_id AND runs.state IN ({marks})) AS active "
        "FROM recurring_runs WHERE enabled = 1 ORDER BY created_at, recurring_run_id",
        LIVE_STATES,
    ).fetchall()


def set_enabled(connection: sqlite3.Connection, recurring_run_id: str, enabled: bool) -> None:
    """Enable or disable it. Raises ``StatusError`` (404)."""
    get_recurring_run(connection, recurring_run_id)
    connection.execute(
        "UPDATE recurring_runs SET enabled = ?, updated_at = ?, problem = NULL WHERE recurring_run_id = ?",
        (int(enabled), now_seconds(), recurring_run_id),
    )


def delete_recurring_run(connection: sqlite3.Connection, recurring_run_id: str) -> None:
    """Forget it; its runs stay and go on. Raises ``StatusError`` (404)."""
    get_recurring_run(connection, recurring_run_id)
    connection.execute("DELETE FROM recurring_runs WHERE recurring_run_id = ?", (recurring_run_id,))


def set_triggered(connection: sqlite3.Connection, recurring_run_id: str, index: int, due: int) -> None:
    """Remember that the run of this number was made for this time."""
    connection.execute(
        "UPDATE recurring_runs SET last_index = ?, last_due = ?, problem = NULL WHERE recurring_run_id = ?",
        (index, due, recurring_run_id),
    )


def set_problem(connection: sqlite3.Connection, recurring_run_id: str, problem: str) -> None:
    """Remember why no run could be made."""
    connection.execute(
        "UPDATE recurring_runs SET problem = ? WHERE recurring_run_id = ?", (problem, recurring_run_id)
    )


def trigger_of(row: sqlite3.Row) -> Trigger:
    """What starts the runs."""
    return Trigger(row["cron"], row["interval_seconds"], row["starts_at"], row["ends_at"])


def run_name(row: sqlite3.Row, index: int) -> str:
    """The name of a run, as KFP's controller forms it: resource, number and their FNV-1 hash."""
    name = f"{row['resource_name']}-{index}"
    value = 2166136261
    for byte in name.encode():
        value = value * 16777619 % 2**32 ^ byte
    return f"{name}-{value}"


def run_id_of(row: sqlite3.Row, name: str) -> str:
    """The id of the run with this name: the same however often it is asked for."""
    return str(uuid5(UUID(row["recurring_run_id"]), name))


def _resource_name(display_name: str, recurring_run_id: str) -> str:
    stem = re.sub(r"[^a-z0-9-]+", "", display_name.lower())[:_RESOURCE_NAME_CHARACTERS]
    return stem + recurring_run_id[:5]
