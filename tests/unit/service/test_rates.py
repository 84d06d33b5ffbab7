from __future__ import annotations

from bridge.lineage.database import Database
from bridge.service.rates import _MOST_CALLERS, Buckets
from tests.unit.service.harness import harness
from tests.unit.service.test_api import problem


def test_a_bucket_fills_with_time_and_no_further_than_its_brim() -> None:
    now = [0.0]
    buckets = Buckets(2.0, 3, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    now[0] += 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    now[0] += 1000
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_only_so_many_callers_are_remembered() -> None:
    buckets = Buckets(0.001, 1, clock=lambda: 0.0)
    for number in range(_MOST_CALLERS + 1):
        assert buckets.take(str(number)) == 0
    assert "0" not in buckets
    assert str(_MOST_CALLERS) in buckets


async def test_who_sends_too_much_is_told_when_to_come_again(database: Database) -> None:
    async with harness(database, caller_requests_per_second=0.1, caller_request_burst=3) as service:
        for _ in range(3):
            assert (await service.client.get("/api/v1/runs")).status_code == 200
        answer = await service.client.get("/api/v1/runs")
        assert problem(answer, 429, "too-many-requests").retryable
        assert int(answer.headers["retry-after"]) in range(1, 11)
        assert (await service.client.get("/readyz")).status_code == 200


async def test_each_token_has_a_rate_of_its_own_and_made_up_ones_share_their_address(
    database: Database,
) -> None:
    limits = {"caller_requests_per_second": 0.001, "caller_request_burst": 4}
    async with harness(database, api_token="right", **limits) as service:

        async def ask(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return (await service.client.get("/api/v1/runs", headers=headers)).status_code

        assert await ask("right") == 200
        assert [await ask(f"made up {number}") for number in range(5)] == [401, 401, 401, 429, 429]
        assert [await ask("right") for _ in range(5)] == [200, 200, 200, 200, 429]
