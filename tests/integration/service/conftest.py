from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bridge_service import BridgeService, start_service
from tests.support.local_backend import LocalBackend, start_local_backend
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(scope="session")
def metadata_shape() -> str:
    """Which shape of metadata the local backend serves; a module may ask for both."""
    return "mlmd"


@pytest.fixture(scope="session")
def local_backend(tmp_path_factory: pytest.TempPathFactory, metadata_shape: str) -> Iterator[LocalBackend]:
    """A real local backend for all tests of this folder."""
    with start_local_backend(
        tmp_path_factory.mktemp("local"), options=("--metadata", metadata_shape)
    ) as backend:
        yield backend


@pytest.fixture(scope="session")
def bridge(tmp_path_factory: pytest.TempPathFactory, local_backend: LocalBackend) -> Iterator[BridgeService]:
    """A real service over SQLite, in front of the local backend."""
    with start_service(tmp_path_factory.mktemp("bridge"), local_backend.url) as service:
        yield service
