from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bridge.lineage.database import Database
from tests.faults.stage import Stage
from tests.support.fault_proxy import fault_proxy
from tests.support.local_backend import LocalBackend, start_local_backend
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.prefork import Prefork, preforked

__all__ = ["postgres_server"]


@pytest.fixture(scope="session")
def local_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBackend]:
    """A real local backend for all scenarios; each leaves it empty."""
    with start_local_backend(tmp_path_factory.mktemp("local"), max_parallel=4) as backend:
        yield backend


@pytest.fixture(scope="session")
def launch() -> Iterator[Prefork]:
    """Starts services quickly."""
    with preforked() as prefork:
        yield prefork


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database at this program's schema, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "bridge.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    """The name of a PostgreSQL database at this program's schema, to be copied."""
    name = postgres_server.create_database()
    _migrate(postgres_server.url(name))
    return name


def _migrate(url: str) -> None:
    with closing(Database(url)) as database:
        database.migrate()


@contextmanager
def _database(request: pytest.FixtureRequest, folder: Path, kind: str) -> Iterator[str]:
    """The URL of a database of one test's own, at this program's schema."""
    if kind == "sqlite":
        path = folder / "bridge.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create_database(template=request.getfixturevalue("migrated_template"))
    try:
        yield server.url(name)
    finally:
        server.drop_database(name)


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, tmp_path: Path, local_backend: LocalBackend, launch: Prefork
) -> Iterator[Stage]:
    """A stage over SQLite; over PostgreSQL where a test asks for it by ``on_both`` or ``on_postgresql``."""
    kind = getattr(request, "param", "sqlite")
    with _database(request, tmp_path, kind) as url, fault_proxy(local_backend.url) as proxy:
        stage = Stage(tmp_path, url, local_backend, proxy, launch)
        yield stage
        stage.clear_backend()
