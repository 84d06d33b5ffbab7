"""What is removed with a run is found by index; with which settings processes run.

Revision: 0017, after 0014. A task that goes asks for the uses that still name it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, JsonText, UtcTime

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index and the table."""
    op.create_index("ix_artifact_uses_task", "artifact_uses", ["task"])
    op.create_table(
        "settings_in_use",
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
        sa.Column("id", BigId, primary_key=True),
        sa.Column("role", CleanText(), nullable=False),
        sa.Column("holder", CleanText(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("content", JsonText, nullable=False),
        sa.UniqueConstraint("role"),
    )
