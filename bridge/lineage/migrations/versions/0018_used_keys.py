"""Keys whose submissions were removed, with how many attempts they had; whom a run answers is found by index.

Revision: 0018, after 0017. The backend may still have those attempts.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, Uid

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the index."""
    op.create_table(
        "used_keys",
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
        sa.Column("id", BigId, primary_key=True),
        sa.Column("key", Uid(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ix_submissions_current_run", "submissions", ["current_run"])
