from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.client.clients import Clock, EitherClient, MakeClient
from tests.unit.client.fake_bridge import FakeBridge


@pytest.fixture
def bridge() -> FakeBridge:
    return FakeBridge()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["async", "blocking"])
async def make_client(
    request: pytest.FixtureRequest, bridge: FakeBridge, clock: Clock
) -> AsyncIterator[MakeClient]:
    """Makes clients of the fake bridge; every test that uses it runs once with each of the two."""
    made: list[EitherClient] = []

    def make(**options: Any) -> EitherClient:
        made.append(EitherClient(request.param, bridge, clock, **options))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
def client(make_client: MakeClient) -> EitherClient:
    return make_client()
