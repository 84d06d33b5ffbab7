"""The database handle on a SQLite file of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from bridge.lineage.database import Database
from bridge.lineage.errors import BadDatabasePlace, DatabaseUnavailable, SchemaMismatch
from bridge.lineage.records import RunFilter
from bridge.lineage.runs import list_runs
from tests.support.lineage_samples import submit


@pytest.fixture
def database(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A migrated database of its own."""
    opened = Database(f"sqlite:///{tmp_path / 'lineage.db'}", patience_seconds=0.5)
    opened.migrate()
    yield opened
    opened.close()


def test_the_file_is_opened_the_way_the_design_says(database: Database) -> None:
    def pragma(name: str) -> object:
        return database.read(lambda session: session.execute(text(f"PRAGMA {name}")).scalar_one())

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 1
    assert pragma("foreign_keys") == 1
    assert pragma("query_only") == 1


def test_what_is_submitted_is_listed(database: Database) -> None:
    run = database.transact(submit)
    assert database.read(lambda session: list_runs(session, RunFilter())) == ([run], None)


def test_a_transaction_within_a_transaction_is_a_mistake(database: Database) -> None:
    with pytest.raises(RuntimeError, match="inside another"):
        database.transact(lambda session: database.transact(submit))
    database.transact(submit)


def test_readers_are_not_held_up_by_a_writer(database: Database) -> None:
    def work(session):  # type: ignore[no-untyped-def]
        submit(session)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(database.read, lambda other: list_runs(other, RunFilter())).result(timeout=20)

    assert database.transact(work) == ([], None)


def test_a_file_that_is_no_database_is_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    broken = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        broken.revision()
    broken.close()


def test_a_database_of_another_program_is_told_apart(tmp_path: Path) -> None:
    empty = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(SchemaMismatch, match="no such table"):
        empty.read(lambda session: list_runs(session, RunFilter()))
    empty.close()


def test_a_folder_that_does_not_exist_is_named_and_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "mistyped"
    with pytest.raises(BadDatabasePlace, match="does not exist") as refused:
        Database(f"sqlite:///{folder / 'lineage.db'}")
    assert str(folder) in str(refused.value)
    assert not folder.exists()


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(BadDatabasePlace, match="is a folder"):
        Database(f"sqlite:///{tmp_path}")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadDatabasePlace, match="which is a file"):
        Database(f"sqlite:///{tmp_path / 'file' / 'lineage.db'}")
