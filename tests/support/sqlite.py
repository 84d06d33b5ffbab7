"""SQLite databases to copy: migrating one takes longer than most tests."""

from __future__ import annotations

from pathlib import Path

from bridge.lineage.database import Database


def migrated_sqlite(folder: Path) -> Path:
    """A migrated, empty database in a new file of the folder, closed."""
    path = folder / "migrated.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path
