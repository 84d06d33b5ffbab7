"""An issuer over HTTP, a service that asks it, and somebody who signs in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bridge.lineage.database import Database
from tests.contract.service.login.people import (
    CALLBACK,
    Person,
    configured,
    person,
)
from tests.support.served_issuer import ServedIssuer, served_issuer
from tests.support.sqlite import migrated_sqlite
from tests.unit.service.harness import Harness, harness


@pytest.fixture(scope="module")
def one_issuer() -> Iterator[ServedIssuer]:
    with served_issuer() as made:
        yield made


@pytest.fixture
def issuer(one_issuer: ServedIssuer) -> ServedIssuer:
    """The issuer as it is at first: making its keys takes longer than a test."""
    fresh = ServedIssuer(one_issuer.url, one_issuer.signs, returns={CALLBACK})
    one_issuer.__dict__.update(fresh.__dict__)
    return one_issuer


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated_sqlite(tmp_path_factory.mktemp("login"))


@pytest.fixture
def database(migrated: Path) -> Iterator[Database]:
    """A database for all tests of a file: what each looks at is its own."""
    opened = Database(f"sqlite:///{migrated}")
    yield opened
    opened.close()


@pytest.fixture
async def service(database: Database, issuer: ServedIssuer) -> AsyncIterator[Harness]:
    async with harness(database, **configured(issuer)) as made:
        yield made


@pytest.fixture
async def ada(service: Harness) -> AsyncIterator[Person]:
    async with person(service) as made:
        yield made
