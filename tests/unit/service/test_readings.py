"""Many runs that are mirrored together: few requests, and nobody suffers for the one that does not fit in."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl
from uuid import UUID

import httpx
import pytest

from bridge.domain.lineage import Run, RunMirror
from bridge.kfp_api import grpcweb
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.mlmd import MlmdReader
from bridge.kfp_api.retry import RetryPolicy
from bridge.service.backend_settings import BackendSettings
from bridge.service.backends import Backend, policy_of
from bridge.service.workers import readings
from bridge.service.workers.readings import Readings
from tests.support.crowded_kfp.lists import Refused, list_runs, row_json
from tests.support.crowded_kfp.metadata import SERVICE, Metadata
from tests.support.crowded_kfp.rows import Rows
from tests.support.fake_kfp import API
from tests.support.following import run_of


@dataclass
class Kfp:
    """A KFP server of some rows, which counts what it is asked."""

    rows: Rows = field(default_factory=Rows)
    details: bool = True
    filters: bool = True
    list_seconds: float = 0.0
    list_failure: httpx.Response | None = None
    asked: Counter[str] = field(default_factory=Counter)
    broken: set[str] = field(default_factory=set)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path, await request.aread()
        if path.startswith(SERVICE):
            method = path.removeprefix(SERVICE)
            self.asked[method] += 1
            if method == "GetExecutions" and not self.filters:
                content = grpcweb.encode_error(grpcweb.UNIMPLEMENTED, "no filter_query")
            elif any(one.encode() in body for one in self.broken):
                content = grpcweb.encode_response(b"\xff\xff")
            else:
                content = Metadata(self.rows).answer(method, body)
            headers = {"content-type": grpcweb.CONTENT_TYPE}
            return httpx.Response(200, headers=headers, content=content)
        if path != f"{API}/runs":
            self.asked["get"] += 1
            row = self.rows.by_id[path.removeprefix(f"{API}/runs/")]
            return httpx.Response(200, json=row_json(self.rows, row, spec=None, tasks=True))
        self.asked["list"] += 1
        await asyncio.sleep(self.list_seconds)
        if self.list_failure is not None:
            return self.list_failure
        query = dict(parse_qsl(request.url.query.decode()))
        try:
            told = list_runs(
                self.rows, query, lambda row: row_json(self.rows, row, spec=None, tasks=self.details)
            )
        except Refused as refused:
            return httpx.Response(400, json={"error": str(refused), "code": 3, "message": str(refused)})
        return httpx.Response(200, json=told)


def reader_of(kfp: Kfp, clock: Callable[[], float] = time.monotonic) -> Readings:
    client = KfpClient(
        "http://kfp.example", transport=httpx.MockTransport(kfp.handle), retry=RetryPolicy(attempts=1)
    )
    settings = BackendSettings(url="http://kfp.example")
    backend = Backend(settings, client, MlmdReader(client), policy_of(settings), list_seconds=0.001)
    return Readings(backend, clock=clock)


def ended(kfp: Kfp, count: int) -> list[Run]:
    """So many runs that have ended."""
    kfp.rows.fill(count, 0)
    return [run_of(UUID(row.run_id)) for row in kfp.rows.all]


async def read(reader: Readings, runs: Sequence[Run]) -> list[RunMirror | None]:
    """As the mirror worker does, all at once."""

    async def one(run: Run) -> RunMirror | None:
        told = await reader.small_run(run) or await reader._backend.client.get_run(run.kfp_run_id)
        return await reader.mirror(run.kfp_run_id, told.task_details)

    return await asyncio.gather(*(one(run) for run in runs))


async def alone(kfp: Kfp, run: Run) -> RunMirror | None:
    """The mirror of one run as it is read by itself."""
    return (await read(reader_of(Kfp(rows=kfp.rows)), [run]))[0]


async def test_many_runs_take_few_requests_and_are_read_as_each_alone() -> None:
    kfp = Kfp()
    runs = ended(kfp, 30)
    mirrors = await read(reader_of(kfp), runs)
    # Six executions a run, a hundred a page.
    assert kfp.asked == {"list": 1, "GetExecutions": 2, "GetEventsByExecutionIDs": 1, "GetArtifactsByID": 1}
    assert mirrors == [await alone(kfp, run) for run in runs]
    assert all(mirror and len(mirror.metrics) == 5 for mirror in mirrors)


async def test_a_few_runs_are_not_worth_a_list() -> None:
    kfp = Kfp()
    await read(reader_of(kfp), ended(kfp, 3))
    assert kfp.asked["list"] == 0
    assert kfp.asked["get"] == 3


async def test_lists_that_carry_no_tasks_are_not_asked_for_again() -> None:
    kfp = Kfp(details=False)
    runs, reader = ended(kfp, 8), reader_of(kfp)
    for _ in range(2):
        assert None not in await read(reader, runs)
    assert (kfp.asked["list"], kfp.asked["get"]) == (1, 16)


async def test_a_dear_list_is_not_asked_for_again() -> None:
    kfp = Kfp(list_seconds=0.2)
    runs, reader = ended(kfp, 8), reader_of(kfp)
    for _ in range(2):
        assert None not in await read(reader, runs)
    assert (kfp.asked["list"], kfp.asked["get"]) == (1, 8)


@pytest.mark.parametrize(
    ("failure", "too_soon", "later"),
    [
        # In proportion to what it took, which was a tenth of a second.
        (httpx.Response(503, text="overloaded"), 1.5, 599.0),
        (httpx.Response(400, json={"error": "no such filter", "code": 3}), 3.0, 7.0),
        (httpx.Response(200, text="more than fits"), 3.0, 7.0),
    ],
)
async def test_a_list_that_failed_is_asked_for_again_after_a_while(
    failure: httpx.Response, too_soon: float, later: float
) -> None:
    kfp = Kfp(list_seconds=0.1, list_failure=failure)
    clock = [0.0]
    runs, reader = ended(kfp, 8), reader_of(kfp, lambda: clock[0])
    asked = []
    for clock[0] in (0.0, too_soon, later):
        assert None not in await read(reader, runs)
        asked.append(kfp.asked["list"])
    assert asked == [1, 1, 2]


async def test_a_list_that_never_makes_sense_is_asked_for_ever_more_seldom() -> None:
    kfp = Kfp(list_failure=httpx.Response(200, text="more than fits"))
    clock = [0.0]
    runs, reader = ended(kfp, 8), reader_of(kfp, lambda: clock[0])
    for clock[0] in (float(second) for second in range(0, 7200, 30)):
        await read(reader, runs)
    assert 8 <= kfp.asked["list"] <= 24, "within two hours"


async def test_a_list_that_is_known_to_be_dear_is_not_asked_for_at_all() -> None:
    kfp = Kfp()
    runs, reader = ended(kfp, 40), reader_of(kfp)
    reader._backend.list_seconds = 15.0
    await read(reader, runs)
    assert kfp.asked["list"] == 0


async def test_a_server_without_filters_is_read_run_by_run() -> None:
    kfp = Kfp(filters=False)
    runs, reader = ended(kfp, 5), reader_of(kfp)
    for _ in range(2):
        assert None not in await read(reader, runs)
    assert (kfp.asked["GetExecutions"], kfp.asked["GetExecutionsByContext"]) == (1, 10)


async def test_a_large_run_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "_MOST_TASKS", 4)
    kfp = Kfp()
    assert None not in await read(reader_of(kfp), ended(kfp, 5))
    assert (kfp.asked["get"], kfp.asked["GetExecutions"], kfp.asked["GetExecutionsByContext"]) == (5, 0, 5)


async def test_more_than_fits_into_memory_is_read_run_by_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.kfp_api.mlmd.MOST_TOGETHER", 20)
    kfp = Kfp()
    assert None not in await read(reader_of(kfp), ended(kfp, 5))
    assert kfp.asked["GetExecutionsByContext"] == 5


async def test_runs_that_the_metadata_does_not_know_are_told_apart() -> None:
    kfp = Kfp()
    runs = ended(kfp, 5)
    reader = reader_of(kfp)
    told = [await reader._backend.client.get_run(run.kfp_run_id) for run in runs]
    kfp.rows.delete(kfp.rows.all[0])
    wanted = zip(runs, told, strict=True)
    found = await asyncio.gather(*(reader.mirror(run.kfp_run_id, one.task_details) for run, one in wanted))
    assert [mirror is None for mirror in found] == [True, False, False, False, False]


async def test_an_answer_about_all_that_makes_no_sense_costs_nobody_the_mirror() -> None:
    kfp = Kfp()
    runs = ended(kfp, 5)
    # Only requests that name the first run are answered so.
    kfp.broken = {str(runs[0].kfp_run_id)}
    reader = reader_of(kfp)
    found = await asyncio.gather(*(reader.mirror(run.kfp_run_id, ()) for run in runs), return_exceptions=True)
    assert [isinstance(one, RunMirror) for one in found] == [False, True, True, True, True]


async def test_multi_user_lists_are_asked_for_by_namespace() -> None:
    kfp = Kfp(rows=Rows(("team-a", "team-b")))
    kfp.rows.fill(12, 0)
    runs = [run_of(UUID(row.run_id), namespace=row.namespace) for row in kfp.rows.all]
    assert None not in await read(reader_of(kfp), runs)
    assert (kfp.asked["list"], kfp.asked["get"]) == (2, 0)
