"""Since when a run waits for a place at its backend and has one; work that was set aside.

Revision: 0005, after 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, UtcTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OPEN = "phase IN ('QUEUED', 'SUBMITTING', 'ACTIVE')"


def upgrade() -> None:
    """Add the columns and the table; what is at a backend already has its place there."""
    op.add_column("runs", sa.Column("queued_at", UtcTime(), nullable=True))
    op.add_column("runs", sa.Column("placed_at", UtcTime(), nullable=True))
    op.execute(
        "UPDATE runs SET placed_at = COALESCE(submitted_at, created_at) "
        "WHERE submission_key IS NOT NULL AND phase IN ('SUBMITTING', 'ACTIVE')"
    )
    queue = sa.text("phase = 'QUEUED' AND queued_at IS NOT NULL")
    op.create_index(
        "ix_runs_queue",
        "runs",
        ["backend", "project", "queued_at", "id"],
        postgresql_where=queue,
        sqlite_where=queue,
    )
    placed = sa.text(f"placed_at IS NOT NULL AND {_OPEN}")
    op.create_index(
        "ix_runs_placed", "runs", ["backend", "project"], postgresql_where=placed, sqlite_where=placed
    )
    op.create_table(
        "quarantine",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
        sa.Column("work", CleanText(), nullable=False),
        sa.Column("subject", CleanText(), nullable=False),
        sa.Column("run", BigId, sa.ForeignKey("runs.id"), nullable=True),
        sa.Column("reason", CleanText(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.UniqueConstraint("backend", "work", "subject"),
    )
