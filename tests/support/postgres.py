"""A real PostgreSQL server for tests, from the PyPI package ``pgserver``: one per session, in a temp folder.

Import ``postgres_server`` and ``postgres_url`` into the ``conftest.py`` that needs them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

with warnings.catch_warnings():
    # The package's own imports warn on newer Pythons; that is not ours to mend.
    warnings.simplefilter("ignore")
    import pgserver


class PostgresServer:
    """A running server. ``process_id`` is its postmaster's, for tests that take it away."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._numbers = count(1)

    @property
    def process_id(self) -> int:
        """The postmaster's process."""
        return int(self._server.get_pid())

    def url(self, database: str) -> str:
        """The URL of a database on the server."""
        return str(self._server.get_uri(database=database))

    def execute(self, statement: str) -> None:
        """Run one statement outside any transaction, in the maintenance database."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def create_database(self, *, template: str = "template1") -> str:
        """The name of a new database, a copy of ``template``."""
        name = f"test_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    @contextmanager
    def database_in(self, folder: Path) -> Iterator[str]:
        """The URL of an empty database whose tables are in that folder; both are gone at the end."""
        name = f"test_{next(self._numbers)}"
        place = folder / name
        place.mkdir()
        if os.geteuid() == 0:
            shutil.chown(place, self._server.system_user)
        self.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
        self.execute(f"CREATE DATABASE {name} TABLESPACE {name}")
        try:
            yield self.url(name)
        finally:
            self.drop_database(name)
            self.execute(f"DROP TABLESPACE {name}")

    @contextmanager
    def folder_of_its_own(self) -> Iterator[Path]:
        """A folder that the server's user can reach, removed at the end."""
        folder = Path(tempfile.mkdtemp(prefix="kfb-pg-"))
        folder.chmod(0o755)
        try:
            yield folder / "disk"
        finally:
            shutil.rmtree(folder)

    def stop(self, mode: str = "fast") -> None:
        """Take the server away as ``pg_ctl`` does: ``fast`` breaks off, ``immediate`` crashes."""
        pgserver.pg_ctl(
            ["-w", "-m", mode, "stop"], pgdata=self._server.pgdata, user=self._server.system_user, timeout=30
        )

    def start(self) -> None:
        """Bring a stopped server back, under the same address."""
        self._server.ensure_postgres_running()

    def drop_database(self, name: str) -> None:
        """Drop the database, whoever is still connected."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextmanager
def running_postgres(*, durable: bool = False, folder: Path | None = None) -> Iterator[PostgresServer]:
    """A server in a folder of its own, stopped and removed at the end; a ``folder`` that is given stays.

    Not ``durable`` by default: it does not wait for the disk, which makes tests fast and figures wrong.
    """
    # A short path: a Unix socket's may have about a hundred characters.
    place = folder or Path(tempfile.mkdtemp(prefix="kfb-pg-"))
    place.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = pgserver.get_server(place / "data", cleanup_mode="stop")
    server = PostgresServer(raw)
    try:
        if not durable:
            server.execute("ALTER SYSTEM SET fsync = off")
            server.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw.cleanup()
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the whole test session."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)
