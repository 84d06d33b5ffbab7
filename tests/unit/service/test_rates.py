from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest

from bridge.domain.access import Role
from bridge.lineage.database import Database
from bridge.lineage.sessions import SignIn, start_session
from bridge.lineage.tokens import create_token
from bridge.service.access.places import Site
from bridge.service.access.tokens import shown_token
from bridge.service.rates import _MOST_CALLERS, Buckets
from tests.unit.service.harness import harness
from tests.unit.service.test_api import problem

SESSION = Site("http://bridge", "").cookie("session")


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


@pytest.mark.parametrize(
    "written",
    [
        lambda token, n: {"Authorization": f"Bearer {' ' * n}{token}"},
        lambda token, n: {"Authorization": f"Bearer {token}", "Cookie": f"{SESSION}={n}"},
        lambda token, n: {
            "Authorization": f"Basic {base64.b64encode(f'user {n}:{token}'.encode()).decode()}"
        },
    ],
    ids=["blanks", "cookies", "users"],
)
async def test_a_token_has_one_rate_however_it_is_written(
    database: Database, written: Callable[[str, int], dict[str, str]]
) -> None:
    limits = {"caller_requests_per_second": 0.001, "caller_request_burst": 4}
    _, token = database.transact(lambda s: create_token(s, name="a", role=Role.VIEWER, projects=["p"]))
    async with harness(database, require_tokens=True, **limits) as service:
        codes = []
        for number in (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3):
            answer = await service.client.get("/api/v1/runs", headers=written(token, number))
            codes.append(answer.status_code)
    # The first request with each way of writing is the address's, as nobody knows yet whose it is.
    assert codes == [200, 200, 200, 200, 200, 200, 200, 429, 429, 200, 429, 429]


def signed_in(database: Database) -> tuple[str, str]:
    """A new token, and the cookie of a session that was begun with it."""
    _, token = database.transact(lambda s: create_token(s, name="a", role=Role.VIEWER, projects=["p"]))
    shown = shown_token(token)
    assert shown is not None
    begun = SignIn(kind="token", name="token:a", token_id=shown[0], credential_sha256=shown[1])
    started = database.transact(lambda s: start_session(s, begun, timedelta(hours=1)))
    assert started is not None
    return token, f"{SESSION}={started[1]}"


async def test_a_session_counts_as_the_token_that_it_was_begun_with(database: Database) -> None:
    limits = {"caller_requests_per_second": 0.001, "caller_request_burst": 4}
    token, session = signed_in(database)
    by_cookie = {"Cookie": session}
    by_token = {"Authorization": f"Bearer {token}"}
    async with harness(database, require_tokens=True, **limits) as service:
        codes = []
        for headers in (*[by_cookie] * 3, *[by_token] * 3, by_cookie, by_token):
            answer = await service.client.get("/api/v1/runs", headers=headers)
            codes.append(answer.status_code)
    # The first request with each is the address's, as nobody knows yet whose it is.
    assert codes == [200, 200, 200, 200, 200, 200, 429, 429]


async def test_another_applications_cookies_make_no_new_caller(database: Database) -> None:
    limits = {"caller_requests_per_second": 0.001, "caller_request_burst": 4}
    _, session = signed_in(database)
    async with harness(database, require_tokens=True, **limits) as service:
        codes = []
        for number in range(7):
            headers = {"Cookie": f"rolling={number}; {session}; other={number}"}
            codes.append((await service.client.get("/api/v1/runs", headers=headers)).status_code)
    # The first request is the address's, as nobody knows yet whose it is.
    assert codes == [200, 200, 200, 200, 200, 429, 429]


async def test_where_nobody_is_asked_credentials_make_no_callers(database: Database) -> None:
    limits = {"caller_requests_per_second": 0.001, "caller_request_burst": 4}
    async with harness(database, **limits) as service:
        made_up = [{"Authorization": f"Bearer {number % 2}"} for number in range(6)]
        answers = [await service.client.get("/api/v1/runs", headers=one) for one in made_up]
        assert [one.status_code for one in answers] == [200, 200, 200, 200, 429, 429]


async def test_only_so_many_requests_of_a_caller_wait_at_a_time(database: Database) -> None:
    _, token = database.transact(lambda s: create_token(s, name="a", role=Role.VIEWER, projects=["p"]))
    async with harness(database, api_token="root", caller_open_requests=1) as service:
        root = {"Authorization": "Bearer root"}
        service.client.headers.update(root)
        made = (await service.submit("k1")).json()
        path, params = f"/api/v1/runs/{made['run_id']}", {"wait": "60s", "version": made["version"]}
        poll = asyncio.create_task(service.client.get(path, params=params))
        async with asyncio.timeout(30):
            while UUID(made["run_id"]) not in service.context.wakeups.runs.watched:
                await asyncio.sleep(0.01)
        refused = await service.client.get("/api/v1/runs")
        assert "caller_open_requests" in (problem(refused, 429, "too-many-requests").detail or "")
        other = {"Authorization": f"Bearer {token}"}
        assert (await service.client.get("/api/v1/runs", headers=other)).status_code == 200
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        assert (await service.client.get("/api/v1/runs")).status_code == 200
