from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bridge.lineage.database import Database
from tests.support.sqlite import migrated_sqlite
from tests.unit.service.harness import Harness, harness


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite database to copy."""
    return migrated_sqlite(tmp_path_factory.mktemp("service"))


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    """A migrated database of this test's own."""
    path = tmp_path / "bridge.db"
    shutil.copy(migrated_file, path)
    opened = Database(f"sqlite:///{path}")
    yield opened
    opened.close()


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Harness]:
    """A service whose only backend is a fake."""
    async with harness(database) as made:
        yield made
