"""The lineage database: SQLModel tables, queries that take and give domain objects, Alembic migrations."""
