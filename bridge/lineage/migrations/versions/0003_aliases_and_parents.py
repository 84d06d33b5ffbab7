"""Aliases of pipeline versions; the alias a run was asked for by; the OpenLineage run that asked for it.

Revision: 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, Uid, UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the columns."""
    op.create_table(
        "pipeline_aliases",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
        sa.Column("pipeline", BigId, sa.ForeignKey("pipelines.id"), nullable=False),
        sa.Column("alias", CleanText(), nullable=False),
        sa.Column("digest", CleanText(), nullable=False),
        sa.Column("changed_at", UtcTime(), nullable=False),
        sa.UniqueConstraint("pipeline", "alias"),
    )
    op.add_column("runs", sa.Column("alias", CleanText(), nullable=True))
    op.add_column("submissions", sa.Column("alias", CleanText(), nullable=True))
    op.add_column("runs", sa.Column("parent_ol_run_id", Uid(), nullable=True))
    where = sa.text("parent_ol_run_id IS NOT NULL")
    op.create_index(
        "ix_runs_parent",
        "runs",
        ["project", "parent_ol_run_id"],
        postgresql_where=where,
        sqlite_where=where,
    )
