"""The crowded KFP server that benches and fault tests use behaves as KFP does, at its size."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from bridge.domain.states import RuntimeState
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpInvalid, KfpUnreachable
from bridge.kfp_api.filters import Filter, finished_since, unfinished
from bridge.kfp_api.mlmd import MlmdReader
from bridge.kfp_api.retry import RetryPolicy
from tests.support.crowded_kfp.process import Crowd, crowded_kfp
from tests.support.kfp_swagger import check_answer

API = "/apis/v2beta1"


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    with crowded_kfp(tmp_path_factory.mktemp("crowd") / "log", runs=1500, active=500) as crowd:
        yield crowd


@pytest.fixture
async def kfp(crowd: Crowd) -> AsyncIterator[KfpClient]:
    async with KfpClient(crowd.url, retry=RetryPolicy(attempts=1)) as client:
        yield client


def test_answers_are_as_kfp_describes_them(crowd: Crowd) -> None:
    run_id = str(crowd.open_runs()[0])
    with httpx.Client(base_url=crowd.url, trust_env=False) as client:
        for method, path in (
            ("GET", f"{API}/runs?page_size=3"),
            ("GET", f"{API}/runs/{run_id}"),
            ("GET", f"{API}/runs/{uuid4()}"),
            ("POST", f"{API}/runs/{run_id}:retry"),
            ("GET", f"{API}/experiments"),
        ):
            answer = client.request(method, path)
            check_answer(method, path, answer.status_code, answer.content)


async def test_unfinished_runs_are_paged_once_each_and_some_have_no_state(
    crowd: Crowd, kfp: KfpClient
) -> None:
    seen = [run async for run in kfp.iterate_runs(filter=unfinished(), page_size=150)]
    assert {run.run_id for run in seen} == {str(one) for one in crowd.open_runs()}
    assert len(seen) == len({run.run_id for run in seen})
    assert {run.runtime_state for run in seen} == {RuntimeState.RUNNING, RuntimeState.UNSPECIFIED}


async def test_a_page_keeps_its_place_while_runs_end(crowd: Crowd, kfp: KfpClient) -> None:
    first = await kfp.list_runs(filter=unfinished(), page_size=100)
    crowd.finish(
        ids=[one for one in crowd.open_runs() if str(one) in {run.run_id for run in first.runs}][:50]
    )
    second = await kfp.list_runs(filter=unfinished(), page_size=100, page_token=first.next_page_token)
    third = await kfp.list_runs(filter=unfinished(), page_size=150)
    assert [run.run_id for run in third.runs[50:]] == [run.run_id for run in second.runs]


async def test_ends_are_told_late_out_of_order_and_in_whole_seconds(crowd: Crowd, kfp: KfpClient) -> None:
    since = datetime.now(UTC) - timedelta(seconds=5)
    late = crowd.finish(1, lag=(0.8, 0.9))
    (prompt,) = crowd.finish(1, state="FAILED")
    listed = await kfp.list_runs(filter=finished_since(since), sort_by="finished_at desc")
    told = {run.run_id: run for run in listed.runs}
    assert str(prompt) in told
    assert str(late[0]) not in told
    assert told[str(prompt)].runtime_state is RuntimeState.FAILED
    deadline = time.monotonic() + 10
    while late[0] not in crowd.told():
        assert time.monotonic() < deadline
    ended = (await kfp.get_run(late[0])).ended_at
    assert ended is not None
    assert ended.microsecond == 0
    assert crowd.told()[late[0]][1] - ended.timestamp() >= 0.8


async def test_the_metadata_tells_what_changed_and_holds_whole_runs(crowd: Crowd, kfp: KfpClient) -> None:
    reader = MlmdReader(kfp)
    began = int(time.time() * 1000)
    ended = crowd.finish(30)
    changes = await reader.changed_since(began)
    assert changes is not None
    assert changes.kfp_run_ids == set(ended)
    again = await reader.changed_since(changes.newest_ms + 1)
    assert again is not None
    assert not again.kfp_run_ids
    mirror = await reader.read_run(ended[0], (await kfp.get_run(ended[0])).task_details)
    assert mirror is not None
    assert not mirror.warnings
    assert (len(mirror.tasks), len(mirror.artifacts), len(mirror.metrics)) == (6, 3, 5)
    assert {task.state for task in mirror.tasks} == {RuntimeState.SUCCEEDED}
    assert await reader.read_run(uuid4(), ()) is None


async def test_runs_can_be_looked_for_by_id(crowd: Crowd, kfp: KfpClient) -> None:
    wanted = {str(one) for one in crowd.open_runs()[:20]}
    page = await kfp.list_runs(filter=Filter().is_in("run_id", sorted(wanted)))
    assert {run.run_id for run in page.runs} == wanted


async def test_a_restart_refuses_connections_and_keeps_the_rows(crowd: Crowd, kfp: KfpClient) -> None:
    before = await kfp.list_runs(filter=unfinished())
    crowd.restart(0.3)
    deadline = time.monotonic() + 10
    refused = 0
    while True:
        assert time.monotonic() < deadline
        try:
            after = await kfp.list_runs(filter=unfinished())
        except KfpUnreachable:
            refused += 1
        else:
            if refused:
                break
    assert after.total_size == before.total_size


async def test_many_users_have_to_name_a_namespace(tmp_path: Path) -> None:
    with crowded_kfp(tmp_path / "log", runs=20, active=10, namespaces="a,b", list_seconds=0.2) as crowd:
        async with KfpClient(crowd.url) as kfp:
            with pytest.raises(KfpInvalid, match="namespace"):
                await kfp.list_runs()
            began = time.monotonic()
            page = await kfp.list_runs(namespace="b", filter=unfinished())
            assert time.monotonic() - began >= 0.2
            assert page.total_size == 5
            assert crowd.seconds()[f"GET {API}/runs"] >= 0.2
