"""The words of the search index, to be looked up one after another.

Revision: 0022, after 0021. On SQLite only, where it is a view of what is stored anyway.
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, which holds nothing of its own."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("CREATE VIRTUAL TABLE run_words_terms USING fts5vocab('run_words', 'instance')")
