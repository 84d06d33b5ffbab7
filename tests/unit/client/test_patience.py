"""Transient failures are repeated within the caller's patience, and everything else is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from bridge.client.errors import BridgeError, BridgeUnreachable, ProblemError
from bridge.client.models import SubmitRequest
from tests.unit.client.clients import Clock, MakeClient, refused
from tests.unit.client.fake_bridge import FakeBridge, make_run, problem

# Made anew for each use: an answer can be read only once.
TRANSIENT: dict[str, Callable[[], httpx.Response | Exception]] = {
    "refused": refused,
    "timeout": lambda: httpx.ReadTimeout("timed out"),
    "reset": lambda: httpx.RemoteProtocolError("Server disconnected"),
    "502": lambda: httpx.Response(502, html="bad gateway"),
    "503": lambda: httpx.Response(503, html="away"),
    "504": lambda: httpx.Response(504, html="gateway timeout"),
    "429": lambda: httpx.Response(429),
    "database": lambda: problem("database-unavailable", 503, "the database is away", retryable=True),
    "canceling": lambda: problem("canceling", 409, "the earlier run is being canceled", retryable=True),
}
DEFINITIVE: dict[str, Callable[[], httpx.Response]] = {
    "superseded": lambda: problem("superseded", 409, "a newer try"),
    "backend": lambda: problem("backend-refused", 502, "the backend said no"),
    "internal": lambda: problem("internal", 500, "a bug"),
    "500": lambda: httpx.Response(500, text="Internal Server Error"),
    "400": lambda: httpx.Response(400, text="what?"),
}


@pytest.mark.parametrize("trouble", TRANSIENT.values(), ids=TRANSIENT)
async def test_a_transient_failure_is_repeated(
    trouble: Callable[[], httpx.Response | Exception], make_client: MakeClient, bridge: FakeBridge
) -> None:
    run = bridge.add(make_run())
    bridge.trouble = [trouble(), trouble()]
    assert await make_client().call("get_run", run.run_id) == run
    assert len(bridge.requests) == 3


@pytest.mark.parametrize("trouble", DEFINITIVE.values(), ids=DEFINITIVE)
async def test_a_definitive_answer_is_not(
    trouble: Callable[[], httpx.Response], make_client: MakeClient, bridge: FakeBridge
) -> None:
    bridge.trouble = [trouble(), trouble()]
    with pytest.raises(BridgeError):
        await make_client().call("get_run", make_run().run_id)
    assert len(bridge.requests) == 1


async def test_a_submission_is_repeated_under_the_same_key(
    make_client: MakeClient, bridge: FakeBridge
) -> None:
    bridge.trouble = [httpx.ReadTimeout("timed out"), refused()]
    await make_client().call("submit", SubmitRequest(spec="x"))
    keys = {request.headers["idempotency-key"] for request in bridge.requests}
    assert len(bridge.requests) == 3
    assert len(keys) == 1


async def test_patience_ends(make_client: MakeClient, bridge: FakeBridge, clock: Clock) -> None:
    bridge.trouble = [refused() for _ in range(10_000)]
    with pytest.raises(BridgeUnreachable, match=r"cannot be connected to \(Connection refused\)") as caught:
        await make_client(patience_seconds=60).call("get_run", make_run().run_id)
    assert sum(clock.slept) == pytest.approx(60, abs=0.05)
    assert 5 < len(bridge.requests) < 1500
    assert caught.value.sent is False


async def test_no_patience_repeats_nothing(make_client: MakeClient, bridge: FakeBridge, clock: Clock) -> None:
    bridge.trouble = [httpx.ReadTimeout("timed out")]
    with pytest.raises(BridgeUnreachable, match="did not answer within 30 s") as caught:
        await make_client(patience_seconds=0).call("get_run", make_run().run_id)
    assert caught.value.sent is True
    assert clock.slept == []


async def test_retry_after_is_the_shortest_pause(
    make_client: MakeClient, bridge: FakeBridge, clock: Clock
) -> None:
    run = bridge.add(make_run())
    bridge.trouble = [httpx.Response(429, headers={"retry-after": "7"})]
    await make_client().call("get_run", run.run_id)
    assert clock.slept[0] >= 7


async def test_retry_after_may_be_a_date(make_client: MakeClient, bridge: FakeBridge, clock: Clock) -> None:
    run = bridge.add(make_run())
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    bridge.trouble = [httpx.Response(503, headers={"retry-after": later})]
    await make_client().call("get_run", run.run_id)
    assert 25 < clock.slept[0] <= 30


async def test_a_pause_longer_than_the_patience_is_not_begun(
    make_client: MakeClient, bridge: FakeBridge, clock: Clock
) -> None:
    bridge.trouble = [httpx.Response(429, headers={"retry-after": "3600"})]
    with pytest.raises(ProblemError) as caught:
        await make_client(patience_seconds=60).call("get_run", make_run().run_id)
    assert caught.value.retry_after_seconds == 3600
    assert clock.slept == []


async def test_whoever_watches_is_told_of_each_failure(make_client: MakeClient, bridge: FakeBridge) -> None:
    run = bridge.add(make_run())
    bridge.trouble = [refused(), refused()]
    told: list[str] = []
    watched = make_client(on_trouble=lambda error, pause: told.append(f"{type(error).__name__} {pause > 0}"))
    await watched.call("get_run", run.run_id)
    assert told == ["BridgeUnreachable True"] * 2
