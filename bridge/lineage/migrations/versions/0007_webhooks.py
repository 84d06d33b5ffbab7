"""Webhooks, and the messages owed to them.

Revision: 0007, after 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, JsonText, Uid, UtcTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two tables."""
    op.create_table(
        "webhooks",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
        sa.Column("webhook_id", Uid(), nullable=False),
        sa.Column("url", CleanText(), nullable=False),
        sa.Column("types", JsonText, nullable=False),
        sa.Column("description", CleanText(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("secret", CleanText(), nullable=False),
        sa.Column("previous_secret", CleanText(), nullable=True),
        sa.Column("previous_until", UtcTime(), nullable=True),
        sa.Column("reached", BigId, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("failing_since", UtcTime(), nullable=True),
        sa.Column("last_error", CleanText(), nullable=True),
        sa.UniqueConstraint("webhook_id"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
        sa.Column("webhook", BigId, sa.ForeignKey("webhooks.id"), nullable=False),
        sa.Column("number", BigId, nullable=False),
        sa.Column("state", CleanText(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", UtcTime(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("tried_at", UtcTime(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", CleanText(), nullable=True),
        sa.UniqueConstraint("webhook", "number"),
    )
    pending = sa.text("state = 'pending'")
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["webhook", "due_at"],
        postgresql_where=pending,
        sqlite_where=pending,
    )
    op.create_index("ix_webhook_deliveries_state", "webhook_deliveries", ["webhook", "state", "id"])
