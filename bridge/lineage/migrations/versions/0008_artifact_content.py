"""Whether what an artifact's URI names is there.

Revision: 0008, after 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import CleanText, UtcTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("artifacts", sa.Column("content", CleanText(), nullable=True))
    op.add_column("artifacts", sa.Column("content_error", CleanText(), nullable=True))
    op.add_column("artifacts", sa.Column("content_checked_at", UtcTime(), nullable=True))
