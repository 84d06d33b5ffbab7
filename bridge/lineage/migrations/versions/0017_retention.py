"""What is removed with a run is found by index.

Revision: 0017, after 0014. A task that goes asks for the uses that still name it.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_artifact_uses_task", "artifact_uses", ["task"])
