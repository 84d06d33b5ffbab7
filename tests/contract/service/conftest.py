from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.bridge_service import BridgeService, start_service
from tests.support.local_backend import LocalBackend, start_local_backend

TOKEN = "the-token-of-the-settings-0123456789"


@pytest.fixture(scope="session")
def local_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBackend]:
    """A real local backend for all tests of this folder."""
    with start_local_backend(tmp_path_factory.mktemp("local")) as backend:
        yield backend


@pytest.fixture(scope="session")
def bridge(tmp_path_factory: pytest.TempPathFactory, local_backend: LocalBackend) -> Iterator[BridgeService]:
    """A real service over SQLite, in front of the local backend, that asks callers who they are."""
    folder = tmp_path_factory.mktemp("bridge")
    with start_service(folder, local_backend.url, env={"KFBRIDGE_API_TOKEN": TOKEN}) as service:
        yield service


@pytest.fixture(scope="session")
def client(bridge: BridgeService) -> Iterator[httpx.Client]:
    """Who may do everything there."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=bridge.url, timeout=30, headers=headers) as made:
        yield made
