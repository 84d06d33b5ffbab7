"""SQLite plans for a large history from the start.

Revision: 0013, after 0012. Without statistics SQLite takes an index that covers a query to be better than
one that leads to a single row: the metric of one run was looked for among those of a million. What is
written here are the shares of a large history; ``ANALYZE`` puts the real ones in their place. PostgreSQL
gathers its own.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# By table and index: all rows, then how many have the same first column, the same first two, and so on.
_STATISTICS = {
    "metrics": {
        "sqlite_autoindex_metrics_1": "10000000 10 1 1",
        "ix_metrics_value": "10000000 100000 10 1",
        "ix_metrics_newest": "10000000 100000 10 1 1",
    },
    "runs": {
        "ix_runs_created": "1000000 2 1",
        "ix_runs_project_created": "1000000 100000 2 1",
        "ix_runs_pipeline_created": "1000000 5000 2 1",
        "ix_runs_state_created": "1000000 200000 2 1",
        "ix_runs_project_state_created": "1000000 100000 20000 2 1",
        "ix_runs_dag_created": "1000000 5000 2 1",
        "ix_runs_experiment_created": "1000000 50000 2 1",
        "ix_runs_dag": "1000000 5000 2 1",
        "ix_runs_good": "900000 100000 5000 1",
    },
    "run_labels": {"ix_run_labels_newest": "2000000 500000 20000 2 1"},
}


def upgrade() -> None:
    """Write the statistics; connections read them when they are opened."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        return
    # Makes the table of statistics.
    connection.exec_driver_sql("ANALYZE sqlite_schema")
    for table, indexes in _STATISTICS.items():
        connection.exec_driver_sql(f"DELETE FROM sqlite_stat1 WHERE tbl = '{table}'")  # noqa: S608
        for index, shares in indexes.items():
            row = f"'{table}', '{index}', '{shares}'"
            connection.exec_driver_sql(f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ({row})")  # noqa: S608
