"""What the OpenLineage consumer was told of runs and tasks; how far old runs were imported; runs of a
job, newest first.

Revision: 0011, after 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, JsonText, UtcTime

revision = "0011"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the column."""
    op.add_column("backend_state", sa.Column("history", JsonText, nullable=True))
    op.create_table(
        "emissions",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
        sa.Column("run", BigId, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("subject", CleanText(), nullable=False),
        sa.Column("event", CleanText(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("failing_since", UtcTime(), nullable=True),
        sa.Column("error", CleanText(), nullable=True),
        sa.UniqueConstraint("run", "subject"),
    )
    failing = sa.text("failing_since IS NOT NULL")
    op.create_index(
        "ix_emissions_failing",
        "emissions",
        ["failing_since"],
        postgresql_where=failing,
        sqlite_where=failing,
    )
    op.create_index("ix_job_runs_job", "job_runs", ["job", "id"])
