"""What retention asks of the database: which runs are over, who uses what they made, and their removal."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field

from bridge.domain.states import RuntimeState
from bridge.local.store_mlmd import PIPELINE_RUN

_TERMINAL = tuple(state for state in RuntimeState if state.is_terminal)
# The runs' contexts with the number of the run; without one where the run was deleted.
_RUN_CONTEXTS = (
    "SELECT mlmd_contexts.id AS context_id, mlmd_contexts.name AS run_id, runs.number AS number "
    "FROM mlmd_contexts JOIN mlmd_types ON mlmd_types.id = mlmd_contexts.type_id AND mlmd_types.name = ? "
    "LEFT JOIN runs ON runs.run_id = mlmd_contexts.name"
)


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run as retention sees it. ``finished_at`` is ``None`` while it is not over; ``users`` are later runs
    that use artifacts of it."""

    run_id: str
    finished_at: int | None
    users: set[str] = field(default_factory=set)


def runs_by_age(connection: sqlite3.Connection) -> list[KeptRun]:
    """Every run, the oldest first."""
    users = _users(connection)
    return [
        KeptRun(
            row["run_id"],
            row["finished_at"] if RuntimeState(row["state"]).is_terminal else None,
            users[row["run_id"]],
        )
        for row in connection.execute("SELECT run_id, state, finished_at FROM runs ORDER BY number")
    ]


def deleted_runs(connection: sqlite3.Connection) -> list[str]:
    """Runs that were deleted while their metadata stayed, and whose artifacts no run uses."""
    users = _users(connection)
    rows = connection.execute(f"{_RUN_CONTEXTS} WHERE runs.number IS NULL", (PIPELINE_RUN,))
    return [row["run_id"] for row in rows if not users[row["run_id"]]]


def run_ids(connection: sqlite3.Connection) -> set[str]:
    """The ids of all runs."""
    return {row[0] for row in connection.execute("SELECT run_id FROM runs")}


def forget_run(connection: sqlite3.Connection, run_id: str) -> bool:
    """Remove a run that is over, with its tasks and metadata; ``False`` if it is no longer over."""
    marks = ", ".join("?" for _ in _TERMINAL)
    removed = connection.execute(
        f"DELETE FROM runs WHERE run_id = ? AND state IN ({marks})",  # noqa: S608
        (run_id, *_TERMINAL),
    )
    if removed.rowcount == 0:
        return False
    forget_metadata(connection, run_id)
    return True


def forget_metadata(connection: sqlite3.Connection, run_id: str) -> None:
    """Remove what ML Metadata holds of a run alone; what other runs use stays."""
    row = connection.execute(
        f"{_RUN_CONTEXTS} WHERE mlmd_contexts.name = ?", (PIPELINE_RUN, run_id)
    ).fetchone()
    if row is None:
        return
    context = row["context_id"]
    connection.execute(
        "DELETE FROM mlmd_executions WHERE id IN "
        "(SELECT execution_id FROM mlmd_associations WHERE context_id = ?)",
        (context,),
    )
    connection.execute(
        "DELETE FROM mlmd_artifacts WHERE id IN ("
        "SELECT mine.artifact_id FROM mlmd_attributions AS mine WHERE mine.context_id = ? AND NOT EXISTS ("
        "SELECT 1 FROM mlmd_attributions AS other "
        "JOIN mlmd_contexts ON mlmd_contexts.id = other.context_id "
        "JOIN mlmd_types ON mlmd_types.id = mlmd_contexts.type_id AND mlmd_types.name = ? "
        "WHERE other.artifact_id = mine.artifact_id AND other.context_id <> mine.context_id))",
        (context, PIPELINE_RUN),
    )
    connection.execute("DELETE FROM mlmd_contexts WHERE id = ?", (context,))


def forget_specs(connection: sqlite3.Connection) -> None:
    """Remove specs to which nothing refers any longer."""
    connection.execute(
        "DELETE FROM specs WHERE spec_id NOT IN (SELECT spec_id FROM runs) "
        "AND spec_id NOT IN (SELECT spec_id FROM pipeline_versions) "
        "AND spec_id NOT IN (SELECT spec_id FROM recurring_runs WHERE spec_id IS NOT NULL)"
    )


def _users(connection: sqlite3.Connection) -> defaultdict[str, set[str]]:
    contexts = {
        row["context_id"]: row for row in connection.execute(_RUN_CONTEXTS, (PIPELINE_RUN,)).fetchall()
    }
    shared = connection.execute(
        "SELECT first.context_id, later.context_id FROM mlmd_attributions AS first "
        "JOIN mlmd_attributions AS later ON later.artifact_id = first.artifact_id "
        "AND later.context_id <> first.context_id"
    )
    users: defaultdict[str, set[str]] = defaultdict(set)
    for first, later in shared:
        maker, user = contexts.get(first), contexts.get(later)
        if maker is None or user is None or user["number"] is None:
            continue
        # Who came later uses; who came first made it. A run that was deleted came before all that are left.
        if maker["number"] is None or maker["number"] < user["number"]:
            users[maker["run_id"]].add(user["run_id"])
    return users
