"""What Alembic runs to migrate: always within the connection that ``bridge.lineage.schema`` hands over."""

from __future__ import annotations

from alembic import context

from bridge.lineage.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    # SQLite alters a table by copying it.
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
