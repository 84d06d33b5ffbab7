"""Backends that nothing new is sent to, and the list of artifacts by type.

Revision: 0012, after 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, UtcTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the index."""
    op.create_table(
        "backend_switches",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("reason", CleanText(), nullable=True),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("drained_at", UtcTime(), nullable=True),
        sa.UniqueConstraint("backend"),
    )
    op.create_index("ix_artifacts_type", "artifacts", ["type", "id"])
