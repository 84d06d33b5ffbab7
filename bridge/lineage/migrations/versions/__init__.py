"""Alembic migrations of the lineage database, run by ``bridge.lineage.schema``."""
