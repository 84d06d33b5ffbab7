from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from bridge.lineage.database import Database
from tests.faults.stage import PATIENCE_SECONDS, Stage
from tests.support.fault_proxy import fault_proxy
from tests.support.local_backend import LocalBackend, start_local_backend
from tests.support.postgres import PostgresServer, postgres_server, postgres_url
from tests.support.prefork import Prefork, preforked

__all__ = ["postgres_server", "postgres_url"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scenarios wait for conditions, each for as long as ``PATIENCE_SECONDS``, also on a busy machine."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(4 * PATIENCE_SECONDS))


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
def _stage(request: pytest.FixtureRequest, *, migrated: bool) -> Iterator[Stage]:
    """A stage whose database is this test's own; which kind, the fixture's parameter says."""
    folder: Path = request.getfixturevalue("tmp_path")
    backend: LocalBackend = request.getfixturevalue("local_backend")
    server: PostgresServer | None
    with ExitStack() as stack:
        if getattr(request, "param", "sqlite") == "sqlite":
            server = None
            url = f"sqlite:///{folder / 'bridge.db'}"
            if migrated:
                shutil.copyfile(request.getfixturevalue("migrated_file"), folder / "bridge.db")
        else:
            server = request.getfixturevalue("postgres_server")
            template = request.getfixturevalue("migrated_template") if migrated else "template1"
            name = server.create_database(template=template)
            stack.callback(server.drop_database, name)
            url = server.url(name)
        proxy = stack.enter_context(fault_proxy(backend.url))
        stage = Stage(folder, url, backend, proxy, request.getfixturevalue("launch"), server)
        yield stage
        stage.clear_backend()


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage over SQLite; over PostgreSQL where a test asks for it by ``on_both`` or ``on_postgresql``."""
    with _stage(request, migrated=True) as stage:
        yield stage


@pytest.fixture
def empty_stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """As ``stage``, with a database that holds nothing yet."""
    with _stage(request, migrated=False) as stage:
        yield stage
