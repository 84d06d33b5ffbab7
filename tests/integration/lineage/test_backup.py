"""A backup brings back what it was made of, on both databases; what does not fit touches nothing."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pgserver
import psycopg
import pytest
from sqlalchemy import text

from bridge.cli import main
from bridge.commands.console import Console
from bridge.domain.lineage import Run
from bridge.lineage import leases
from bridge.lineage.backup import BackupError, back_up, put_back, read_stamp
from bridge.lineage.database import Database
from bridge.lineage.mirror import store_mirror
from bridge.lineage.reading import tasks_of
from bridge.lineage.records import RunFilter
from bridge.lineage.runs import list_runs
from bridge.lineage.tables import METADATA
from tests.support.lineage_samples import a_mirror, many_runs, submit

TOOLS = Path(pgserver.__file__).parent / "pginstall" / "bin"


@pytest.fixture
def filled(database: Database) -> tuple[Database, list[Run]]:
    """A database with three runs, one of them mirrored."""
    runs = database.transact(lambda s: many_runs(s, 3))
    database.transact(lambda s: store_mirror(s, runs[0].run_id, a_mirror()))
    return database, runs


def stored(url: str) -> set[UUID]:
    database = Database(url)
    try:
        found, _ = database.read(lambda s: list_runs(s, RunFilter(), limit=100))
        return {run.run_id for run in found}
    finally:
        database.close()


def test_a_backup_brings_back_what_it_was_made_of(
    filled: tuple[Database, list[Run]], url: str, tmp_path: Path
) -> None:
    database, runs = filled
    file = tmp_path / "bridge.backup"
    stamp = back_up(database, url, file, version="1.2.3", tools=TOOLS)
    assert (stamp.dialect, stamp.revision) == (database.dialect, database.head())
    assert read_stamp(file) == stamp
    assert file.stat().st_mode & 0o077 == 0
    later = database.transact(submit)
    database.close()
    with pytest.raises(BackupError, match="--force"):
        put_back(url, file, tools=TOOLS)
    assert later.run_id in stored(url)
    assert put_back(url, file, force=True, tools=TOOLS) == stamp
    assert stored(url) == {run.run_id for run in runs}
    again = Database(url)
    assert len(again.read(lambda s: tasks_of(s, runs[0].run_id))) == 2
    # Counters and triggers work on: new runs get new rows and are found by their words.
    new = again.transact(submit)
    again.close()
    assert new.run_id in stored(url)
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".kfbridge")] == []


def test_an_empty_database_takes_a_backup(
    filled: tuple[Database, list[Run]], url: str, empty_url: str, tmp_path: Path
) -> None:
    database, runs = filled
    file = tmp_path / "bridge.backup"
    back_up(database, url, file, version="1", tools=TOOLS)
    if database.dialect != Database(empty_url).dialect:
        with pytest.raises(BackupError, match="is a backup of"):
            put_back(empty_url, file, tools=TOOLS)
        return
    put_back(empty_url, file, tools=TOOLS)
    assert stored(empty_url) == {run.run_id for run in runs}


def test_nothing_is_restored_while_somebody_works(
    filled: tuple[Database, list[Run]], url: str, tmp_path: Path
) -> None:
    database, runs = filled
    file = tmp_path / "bridge.backup"
    back_up(database, url, file, version="1", tools=TOOLS)
    database.transact(lambda s: leases.take_lease(s, "track:main", holder="host:17", lease_seconds=30))
    with pytest.raises(BackupError, match=r"host:17 works on the database"):
        put_back(url, file, force=True, tools=TOOLS)
    assert stored(url) == {run.run_id for run in runs}


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_nothing_is_restored_while_somebody_answers_questions(
    filled: tuple[Database, list[Run]], url: str, tmp_path: Path
) -> None:
    database, runs = filled
    file = tmp_path / "bridge.backup"
    back_up(database, url, file, version="1", tools=TOOLS)
    # As `serve --no-workers` does it holds no lease, and a connection.
    with pytest.raises(BackupError, match=r"a process at this machine, .* works on the database"):
        put_back(url, file, force=True, tools=TOOLS)
    database.close()
    put_back(url, file, force=True, tools=TOOLS)
    assert stored(url) == {run.run_id for run in runs}


def test_what_is_not_the_bridges_is_never_dropped(
    filled: tuple[Database, list[Run]], url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database, runs = filled
    file = tmp_path / "bridge.backup"
    back_up(database, url, file, version="1", tools=TOOLS)
    database.close()
    if database.dialect == "sqlite":
        place = tmp_path / "mlflow.db"
        with closing(sqlite3.connect(place)) as theirs:
            theirs.execute("CREATE TABLE runs (run_uuid text)")
            theirs.commit()
        before = place.read_bytes()
        with pytest.raises(BackupError, match=r"not the bridge's: it holds runs"):
            put_back(f"sqlite:///{place}", file, force=True)
        assert place.read_bytes() == before
        return
    server = request.getfixturevalue("postgres_server")
    other = server.url(name := server.create_database())
    _execute(other, "CREATE TABLE tickets (id serial)", "INSERT INTO tickets DEFAULT VALUES")
    with pytest.raises(BackupError, match="--force"):
        put_back(other, file, tools=TOOLS)
    put_back(other, file, force=True, tools=TOOLS)
    assert stored(other) == {run.run_id for run in runs}
    assert _execute(other, "SELECT count(*) FROM tickets") == 1
    server.drop_database(name)
    other = server.url(name := server.create_database())
    _execute(other, "CREATE TABLE runs (run_uuid text)", "INSERT INTO runs VALUES ('theirs')")
    with pytest.raises(BackupError, match='"runs" already exists'):
        put_back(other, file, force=True, tools=TOOLS)
    assert _execute(other, "SELECT run_uuid FROM runs") == "theirs"
    server.drop_database(name)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_shared_database_is_restored_and_what_others_have_in_it_stays(
    filled: tuple[Database, list[Run]], url: str, tmp_path: Path
) -> None:
    database, runs = filled
    database.close()
    _execute(
        url,
        "CREATE TABLE tickets (id serial PRIMARY KEY)",
        "CREATE VIEW ticket_ids AS SELECT id FROM tickets",
        "CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42'",
        "CREATE SCHEMA apart",
        "CREATE TABLE apart.runs (id int)",
        "INSERT INTO tickets DEFAULT VALUES",
    )
    file = tmp_path / "bridge.backup"
    back_up(database, url, file, version="1", tools=TOOLS)
    _execute(url, "INSERT INTO tickets DEFAULT VALUES", "INSERT INTO apart.runs VALUES (1)")
    # A newer version has a table more, and says so.
    noted = json.dumps([*METADATA.tables, "futures"])
    _execute(url, "CREATE TABLE futures (id int)", f"COMMENT ON TABLE alembic_version IS '{noted}'")
    later = database.transact(submit)
    database.close()
    put_back(url, file, force=True, tools=TOOLS)
    assert stored(url) == {run.run_id for run in runs} - {later.run_id}
    assert (
        _execute(url, "SELECT (SELECT count(*) FROM ticket_ids) + answer() + (SELECT id FROM apart.runs)")
        == 45
    )
    assert _execute(url, "SELECT to_regclass('futures')::text") is None
    assert "used_keys" in str(_execute(url, "SELECT obj_description('alembic_version'::regclass)"))


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_what_cannot_be_loaded_leaves_all_as_it_was(
    filled: tuple[Database, list[Run]], url: str, tmp_path: Path
) -> None:
    database, runs = filled
    file = tmp_path / "bridge.backup"
    back_up(database, url, file, version="1", tools=TOOLS)
    database.close()
    _execute(url, "DROP TABLE used_keys", "CREATE VIEW used_keys AS SELECT 1 AS id")
    with pytest.raises(BackupError, match=r'psql failed: .*"used_keys" already exists'):
        put_back(url, file, force=True, tools=TOOLS)
    assert stored(url) == {run.run_id for run in runs}


def _execute(url: str, *statements: str) -> Any:
    """Run statements as somebody else; the last one's first value, if it tells any."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            told = connection.execute(statement.encode())
        row = told.fetchone() if told.description else None
        return row[0] if row else None


def _changed(file: Path, **changes: Any) -> Path:
    """The backup with another stamp, or with another content."""
    content = changes.pop("content", None)
    changed = file.with_suffix(".changed")
    with tarfile.open(file) as of, tarfile.open(changed, "w") as to:
        for member in of.getmembers():
            data = of.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == "stamp.json":
                data = json.dumps(json.loads(data) | changes).encode()
            elif content is not None:
                data = content
            member.size = len(data)
            to.addfile(member, io.BytesIO(data))
    return changed


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"revision": "9999", "version": "7.0"}, "made by version 7.0"),
        ({"format": 2}, "of format 2"),
        ({"content": b"something else"}, "is damaged"),
        ({"surprise": 1}, "no backup of the bridge"),
    ],
)
def test_what_does_not_fit_touches_nothing(
    filled: tuple[Database, list[Run]], url: str, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    database, runs = filled
    file = tmp_path / "bridge.backup"
    back_up(database, url, file, version="1", tools=TOOLS)
    database.close()
    with pytest.raises(BackupError, match=told):
        put_back(url, _changed(file, **changes), force=True, tools=TOOLS)
    assert stored(url) == {run.run_id for run in runs}


def test_a_file_of_something_else_is_no_backup(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a backup")
    with pytest.raises(BackupError, match="no backup of the bridge"):
        read_stamp(file)
    with pytest.raises(BackupError, match="cannot be read"):
        read_stamp(tmp_path / "nothing")


def test_the_commands(filled: tuple[Database, list[Run]], url: str, tmp_path: Path) -> None:
    file = str(tmp_path / "bridge.backup")

    def kfbridge(*words: str) -> tuple[int, str]:
        console = Console(out=io.StringIO(), err=io.StringIO(), environ={})
        code = main([*words, "--database-url", url, "--pg-tools", str(TOOLS)], console)
        return code, console.out.getvalue() + console.err.getvalue()  # type: ignore[attr-defined]

    code, said = kfbridge("backup", file, "--json")
    assert (code, json.loads(said)["dialect"]) == (0, filled[0].dialect)
    filled[0].close()
    code, said = kfbridge("restore", file)
    assert (code, "--force" in said) == (1, True)
    code, said = kfbridge("restore", file, "--force")
    assert (code, said.startswith("restored to ")) == (0, True), said


@pytest.mark.postgres
def test_a_missing_program_is_named_with_its_package(postgres_server: Any, tmp_path: Path) -> None:
    name = postgres_server.create_database()
    database = Database(postgres_server.url(name))
    database.transact(lambda s: s.execute(text("CREATE TABLE alembic_version (version_num text)")))
    database.transact(lambda s: s.execute(text("INSERT INTO alembic_version VALUES ('0001')")))
    with pytest.raises(BackupError, match=r"no program pg_dump .* package postgresql-client"):
        back_up(database, postgres_server.url(name), tmp_path / "x", version="1", tools=tmp_path)
    database.close()
    postgres_server.drop_database(name)
