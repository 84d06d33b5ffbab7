from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.stage import Stage
from tests.support.fault_proxy import fault_proxy
from tests.support.local_backend import LocalBackend, start_local_backend
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(scope="session")
def local_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBackend]:
    """A real local backend for all scenarios; each leaves it empty."""
    with start_local_backend(tmp_path_factory.mktemp("local"), max_parallel=4) as backend:
        yield backend


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path, local_backend: LocalBackend) -> Iterator[Stage]:
    """A stage over SQLite; over PostgreSQL where a test asks for it by ``on_both`` or ``on_postgresql``."""
    kind = getattr(request, "param", "sqlite")
    url = f"sqlite:///{tmp_path / 'bridge.db'}"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_url")
    with fault_proxy(local_backend.url) as proxy:
        stage = Stage(tmp_path, url, local_backend, proxy)
        yield stage
    stage.clear_backend()
