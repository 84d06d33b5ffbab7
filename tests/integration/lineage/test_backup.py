"""A backup brings back what it was made of, on both databases; what does not fit touches nothing."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any
from uuid import UUID

import pgserver
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
