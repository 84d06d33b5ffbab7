"""When a pipeline's runs were submitted, and what runs cost over years, by index.

Revision: 0020, after 0018.
"""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes, and what SQLite's planner is to expect of it; see 0013."""
    # Answers when the last runs were submitted, and by which DagRun, without looking at the runs.
    op.create_index(
        "ix_runs_project_pipeline_created",
        "runs",
        ["project", "pipeline_name", "created_at", "run_id", "dag_run_id"],
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat)"
            " VALUES ('runs', 'ix_runs_project_pipeline_created', '1000000 100000 1000 1 1 1')"
        )
        # Sums in the order in which they are asked for, which SQLite would have to sort.
        op.create_index(
            "ix_usage_totals_pipeline",
            "usage_totals",
            ["pipeline", "backend", "resource", "project", "month", "runs", "hours"],
        )
        op.create_index(
            "ix_usage_totals_month",
            "usage_totals",
            ["month", "backend", "resource", "team", "project", "runs", "hours"],
        )
