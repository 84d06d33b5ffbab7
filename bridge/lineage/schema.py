"""The schema's revisions: Alembic's migrations of this package, run by the program itself."""

from __future__ import annotations

from functools import cache

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

# Any number of one's own: replicas that start together migrate one after the other.
_MIGRATION_LOCK = 0x6B66_6272


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
    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
