from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.bridge_service import BridgeService, start_service
from tests.support.local_backend import LocalBackend, start_local_backend


@pytest.fixture(scope="session")
def local_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBackend]:
    """A real local backend for all tests of this folder."""
    with start_local_backend(tmp_path_factory.mktemp("local")) as backend:
        yield backend


@pytest.fixture(scope="session")
def bridge(tmp_path_factory: pytest.TempPathFactory, local_backend: LocalBackend) -> Iterator[BridgeService]:
    """A real service over SQLite, in front of the local backend."""
    with start_service(tmp_path_factory.mktemp("bridge"), local_backend.url) as service:
        yield service


@pytest.fixture(scope="session")
def client(bridge: BridgeService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=bridge.url, timeout=30) as made:
        yield made
