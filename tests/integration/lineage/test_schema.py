"""The migrations lead to the schema the models describe, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from bridge.lineage import migrations
from bridge.lineage.database import Database
from bridge.lineage.errors import SchemaMismatch
from bridge.lineage.runs import get_run
from bridge.lineage.tables import METADATA
from bridge.lineage.tables.costs import ONLY_ON_SQLITE
from tests.support.lineage_samples import some_uuid

VERSIONS = Path(migrations.__file__).parent / "versions"
NEWEST = max(path.name[:4] for path in VERSIONS.glob("0*.py"))


def is_search_index(table: str | None) -> bool:
    """Whether the table is the search index, or one of those that SQLite keeps it in."""
    return table is not None and table.startswith("run_words")


def test_models_and_migrated_schema_are_the_same(database: Database) -> None:
    def differences(session):  # type: ignore[no-untyped-def]
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or not is_search_index(name),
            "include_object": lambda _, name, *__: database.dialect == "sqlite" or name not in ONLY_ON_SQLITE,
        }
        return compare_metadata(MigrationContext.configure(session.connection(), opts=options), METADATA)

    assert database.read(differences) == []


def test_every_table_says_which_backend_and_project_it_belongs_to(database: Database) -> None:
    def columns(session):  # type: ignore[no-untyped-def]
        found = inspect(session.connection())
        return {
            name: {column["name"]: column["nullable"] for column in found.get_columns(name)}
            for name in found.get_table_names()
            if name != "alembic_version" and not is_search_index(name)
        }

    tables = database.read(columns)
    assert set(tables) == set(METADATA.tables)
    for name, nullable in tables.items():
        assert nullable.get("backend") is False, name
        assert nullable.get("project") is False, name


def test_revision_before_and_after_migrating(empty_url: str) -> None:
    database = Database(empty_url)
    assert database.revision() is None
    with pytest.raises(SchemaMismatch, match="kfbridge migrate"):
        database.check_schema()
    with pytest.raises(SchemaMismatch, match="kfbridge migrate"):
        database.read(lambda session: get_run(session, some_uuid(1)))
    database.migrate()
    assert database.revision() == database.head() == NEWEST
    database.check_schema()
    database.close()


def test_processes_that_start_together_migrate_once(empty_url: str) -> None:
    databases = [Database(empty_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for result in [pool.submit(database.migrate) for database in databases]:
            result.result(timeout=60)
    assert {database.revision() for database in databases} == {databases[0].head()}
    for database in databases:
        database.close()


@pytest.mark.parametrize("view", ["kfbridge_runs", "kfbridge_metrics", "kfbridge_models"])
def test_views_can_be_read_when_nothing_is_stored(database: Database, view: str) -> None:
    rows = database.read(lambda session: session.execute(text(f"SELECT * FROM {view}")).all())
    assert rows == []
