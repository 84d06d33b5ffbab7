"""What runs used and cost, with a view for BI tools; how long good runs took, by index.

Revision: 0014, after 0013.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# One line for each run and resource that has been counted.
_COSTS = """
CREATE VIEW kfbridge_costs AS
SELECT r.run_id, u.backend, u.project, u.pipeline, NULLIF(u.team, '') AS team, u.month,
       r.created_at, r.shown_state AS state, r.good, r.dag_id, r.dag_run_id,
       u.resource, u.hours, COALESCE(p.per_hour, d.per_hour) AS per_hour,
       u.hours * COALESCE(p.per_hour, d.per_hour) AS cost, COALESCE(p.currency, d.currency) AS currency
FROM run_usage AS u
JOIN runs AS r ON r.id = u.run
LEFT JOIN prices AS p ON p.resource = u.resource AND p.backend = u.backend AND p.backend <> ''
LEFT JOIN prices AS d ON d.resource = u.resource AND d.backend = ''
"""


def upgrade() -> None:
    """Add the tables, the view and the index."""
    op.create_table(
        "run_usage",
        *_owned(),
        sa.Column("run", BigId, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("resource", CleanText(), nullable=False),
        sa.Column("month", CleanText(), nullable=False),
        sa.Column("pipeline", CleanText(), nullable=False),
        sa.Column("team", CleanText(), nullable=False),
        sa.Column("hours", sa.Float(), nullable=False),
        sa.UniqueConstraint("run", "resource"),
    )
    op.create_table(
        "usage_totals",
        *_owned(),
        sa.Column("month", CleanText(), nullable=False),
        sa.Column("pipeline", CleanText(), nullable=False),
        sa.Column("team", CleanText(), nullable=False),
        sa.Column("resource", CleanText(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("hours", sa.Float(), nullable=False),
        sa.UniqueConstraint("month", "project", "pipeline", "team", "backend", "resource"),
    )
    op.create_table(
        "prices",
        *_owned(),
        sa.Column("resource", CleanText(), nullable=False),
        sa.Column("per_hour", sa.Float(), nullable=False),
        sa.Column("currency", CleanText(), nullable=False),
        sa.UniqueConstraint("backend", "resource"),
    )
    op.execute(_COSTS)
    # Answers how long the last good runs took without looking at the runs.
    op.create_index(
        "ix_runs_good_times",
        "runs",
        ["project", "pipeline_name", "created_at", "started_at", "finished_at", "good"],
        postgresql_where=sa.text("good"),
        sqlite_where=sa.text("good = 1"),
    )


def _owned() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("id", BigId, primary_key=True),
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
    )
