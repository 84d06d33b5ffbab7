"""The runs of a job, newest first.

Revision: 0015, after 0014.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_job_runs_job", "job_runs", ["job", "id"])
