"""The schema's revisions: Alembic's migrations of this package, run by the program itself."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from bridge.lineage.tables import METADATA

# Any number of one's own: replicas that start together migrate one after the other.
_MIGRATION_LOCK = 0x6B66_6272
VERSION_TABLE = "alembic_version"
# What migrations made that no model names.
_MORE_TABLES = (VERSION_TABLE, "run_words")
_MARKS = frozenset({VERSION_TABLE, "submissions", "runs", "duties", "outbox"})


def migration_config() -> Config:
    """Alembic's configuration for the migrations of this package."""
    config = Config()
    config.set_main_option("script_location", "bridge.lineage:migrations")
    config.set_main_option("path_separator", "os")
    return config


@cache
def head_revision() -> str:
    """The newest revision among this package's migrations."""
    head = ScriptDirectory.from_config(migration_config()).get_current_head()
    if head is None:
        raise RuntimeError("the package holds no migrations")
    return head


def current_revision(connection: Connection) -> str | None:
    """The revision the connected database is at."""
    return MigrationContext.configure(connection).get_current_revision()


def is_known_revision(revision: str) -> bool:
    """Whether this package holds that migration; one it does not hold is a newer version's."""
    known = ScriptDirectory.from_config(migration_config()).walk_revisions()
    return any(script.revision == revision for script in known)


def upgrade(connection: Connection) -> None:
    """Run the missing migrations in the connection's transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    before = current_revision(connection)
    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if connection.dialect.name == "postgresql" and before != head_revision():
        _note_tables(connection)


def own_tables(connection: Connection) -> list[str]:
    """The tables of the connected PostgreSQL database that the bridge made, a newer version's too; none where
    the schema is not the bridge's."""
    there = set(inspect(connection).get_table_names())
    if not is_bridge_schema(there):
        return []
    noted = connection.execute(
        text("SELECT obj_description(CAST(:name AS regclass))"), {"name": VERSION_TABLE}
    )
    names = {*METADATA.tables, *_MORE_TABLES, *json.loads(noted.scalar_one() or "[]")}
    return sorted(names & there)


def is_bridge_schema(tables: Collection[str]) -> bool:
    """Whether a schema with these tables is the bridge's; others have tables called ``runs``, too."""
    return set(tables) >= _MARKS


def _note_tables(connection: Connection) -> None:
    """Where a version that does not know all of them reads their names."""
    names = json.dumps(sorted({*METADATA.tables, *_MORE_TABLES}))
    connection.execute(text(f"COMMENT ON TABLE {VERSION_TABLE} IS '{names}'"))
