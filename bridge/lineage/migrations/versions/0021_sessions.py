"""Sessions of people who signed in with a browser.

Revision: 0021, after 0020.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, JsonText, UtcTime

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the index that finds those that are over."""
    op.create_table(
        "sessions",
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
        sa.Column("id", BigId, primary_key=True),
        sa.Column("secret_sha256", CleanText(), nullable=False),
        sa.Column("attempt_sha256", CleanText(), nullable=True),
        sa.Column("kind", CleanText(), nullable=False),
        sa.Column("name", CleanText(), nullable=False),
        sa.Column("issuer", CleanText(), nullable=True),
        sa.Column("claims", JsonText, nullable=False),
        sa.Column("token_id", CleanText(), nullable=True),
        sa.Column("credential_sha256", CleanText(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.UniqueConstraint("secret_sha256"),
        sa.UniqueConstraint("attempt_sha256"),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
