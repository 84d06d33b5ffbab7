"""A server is spared by all who talk to it together: rate, Retry-After, circuit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx
import pytest

from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import (
    KfpError,
    KfpHeldBack,
    KfpInvalid,
    KfpRateLimited,
    KfpServerError,
    KfpUnreachable,
)
from bridge.kfp_api.guard import Guard, GuardPolicy, Part
from bridge.kfp_api.messages import Run
from bridge.kfp_api.retry import RetryPolicy

POLICY = GuardPolicy(
    requests_per_second=10, burst=5, failures=3, first_open_seconds=10, longest_open_seconds=35
)


@dataclass
class Time:
    """A clock that sleeping moves on."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def guard(clock: Time) -> Guard:
    return Guard(POLICY, clock=clock, sleep=clock.sleep)


async def ask(
    guard: Guard,
    error: KfpError | None = None,
    *,
    request: str = "GET /runs",
    part: Part = "api",
    may_probe: bool = True,
) -> None:
    async with guard.asking(part, request, may_probe=may_probe):
        if error is not None:
            raise error


async def fails(guard: Guard, times: int = 1, *, request: str = "GET /runs", part: Part = "api") -> None:
    for _ in range(times):
        with pytest.raises(KfpServerError):
            await ask(guard, KfpServerError("503", status=503), request=request, part=part)


async def held(guard: Guard, **how: object) -> KfpHeldBack:
    with pytest.raises(KfpHeldBack) as caught:
        await ask(guard, **how)  # type: ignore[arg-type]
    return caught.value


async def test_a_burst_goes_out_at_once_and_what_follows_by_the_rate(guard: Guard, clock: Time) -> None:
    for _ in range(15):
        await ask(guard)
    assert sum(clock.slept) == pytest.approx(1.0)
    clock.now += 60
    clock.slept.clear()
    for _ in range(5):
        await ask(guard)
    assert clock.slept == []


async def test_whoever_waits_at_the_same_time_waits_in_turn(clock: Time) -> None:
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)

    guard = Guard(POLICY, clock=clock, sleep=sleep)
    await asyncio.gather(*(ask(guard) for _ in range(8)))
    assert asked == pytest.approx([0.1, 0.2, 0.3])


async def test_nobody_waits_longer_than_patience(clock: Time) -> None:
    policy = GuardPolicy(requests_per_second=1, burst=1, patience_seconds=2)
    blocked = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await blocked.wait()

    guard = Guard(policy, clock=clock, sleep=sleep)
    tasks = [asyncio.ensure_future(ask(guard)) for _ in range(3)]
    await asyncio.sleep(0)
    assert guard.state.waiting == 2
    error = await held(guard)
    assert error.retry_after_seconds == pytest.approx(3.0)
    blocked.set()
    await asyncio.gather(*tasks)
    assert guard.state.waiting == 0


async def test_failures_in_a_row_open_the_circuit_and_one_success_closes_it(
    guard: Guard, clock: Time
) -> None:
    await fails(guard, 2)
    await ask(guard)
    await fails(guard, 2)
    assert guard.state.circuit == "closed"
    await fails(guard)
    assert guard.state.circuit == "open"
    error = await held(guard)
    assert not error.ambiguous
    assert not error.sent
    assert error.retry_after_seconds is not None
    assert 0 < error.retry_after_seconds <= 10
    assert "3 failures in a row" in str(error)
    clock.now += 10
    assert guard.state.circuit == "half-open"
    await ask(guard)
    assert (guard.state.circuit, guard.state.held_seconds) == ("closed", 0)


async def test_one_request_looks_whether_the_server_is_back_and_never_a_post_of_a_run(
    guard: Guard, clock: Time
) -> None:
    await fails(guard, 3)
    clock.now += 10
    await held(guard, may_probe=False)
    async with guard.asking("api", "GET /runs"):
        await held(guard)
    await ask(guard, may_probe=False)


async def test_the_pause_doubles_up_to_its_longest(guard: Guard, clock: Time) -> None:
    pauses = []
    await fails(guard, 2)
    for _ in range(5):
        await fails(guard)
        pauses.append(guard.state.held_seconds)
        clock.now += pauses[-1]
    for pause, longest in zip(pauses, (10, 20, 35, 35, 35), strict=True):
        assert longest * 0.8 <= pause <= longest


async def test_failures_of_requests_that_were_under_way_do_not_lengthen_the_pause(guard: Guard) -> None:
    async def slow(gate: asyncio.Event) -> None:
        async with guard.asking("api", "GET /slow"):
            await gate.wait()
            raise KfpUnreachable("reset", sent=True)

    gate = asyncio.Event()
    tasks = [asyncio.ensure_future(slow(gate)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert guard.state.held_seconds <= 10


async def test_a_cancelled_probe_lets_the_next_one_look(guard: Guard, clock: Time) -> None:
    await fails(guard, 3)
    clock.now += 10

    async def hang() -> None:
        async with guard.asking("api", "GET /runs"):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(hang())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await ask(guard)
    assert guard.state.circuit == "closed"


async def test_one_run_that_cannot_be_shown_is_no_outage(guard: Guard) -> None:
    await fails(guard, 10, request="GET /apis/v2beta1/runs/broken")
    assert guard.state.circuit == "closed"


async def test_a_refusal_is_an_answer(guard: Guard) -> None:
    await fails(guard, 2)
    with pytest.raises(KfpInvalid):
        await ask(guard, KfpInvalid("no", status=400))
    await fails(guard, 2)
    assert guard.state.circuit == "closed"


async def test_metadata_that_is_away_holds_back_only_its_own_requests(guard: Guard) -> None:
    await fails(guard, 3, part="metadata")
    await held(guard, part="metadata")
    await ask(guard)
    assert guard.state.circuit == "open"


@pytest.mark.parametrize(("asked", "seconds"), [(20.0, 20.0), (None, 1.0), (1e9, 3600.0)])
async def test_retry_after_holds_everybody_back(
    guard: Guard, clock: Time, asked: float | None, seconds: float
) -> None:
    with pytest.raises(KfpRateLimited):
        await ask(guard, KfpRateLimited("slow down", status=429, retry_after_seconds=asked))
    for part in ("api", "metadata"):
        error = await held(guard, part=part)
        assert error.retry_after_seconds == pytest.approx(seconds)
    assert guard.state.circuit == "closed"
    clock.now += seconds
    await ask(guard)
    assert clock.slept == [pytest.approx(0.1)], "the time of the pause has saved nothing up"


async def test_the_client_asks_its_guard_before_every_request(clock: Time) -> None:
    seen: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.method} {request.url.path}")
        return httpx.Response(503, json={"message": "away"})

    client = KfpClient(
        "http://kfp.example",
        transport=httpx.MockTransport(handle),
        guard=Guard(POLICY, clock=clock, sleep=clock.sleep),
        retry=RetryPolicy(attempts=10),
        sleep=clock.sleep,
    )
    async with client:
        with pytest.raises(KfpHeldBack):
            await client.list_runs()
        assert len(seen) == 3
        with pytest.raises(KfpHeldBack) as caught:
            await client.create_run(Run(run_id="x"))
        assert not caught.value.ambiguous
        with pytest.raises(KfpHeldBack):
            await client.node_log_text("run", "pod")
        with pytest.raises(KfpHeldBack):
            # Another circuit, which has to see failures of its own.
            await client.grpc_web("ml_metadata.MetadataStoreService/GetContexts", b"")
        assert len(seen) == 3 + 3
