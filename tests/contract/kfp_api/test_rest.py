"""The client against a real server: what REST is expected to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from bridge.domain.states import RuntimeState
from bridge.kfp_api import errors
from bridge.kfp_api.choosing import ChoosingReader
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.filters import Filter, finished_since, unfinished
from bridge.kfp_api.messages import Run
from tests.contract.kfp_api.runs import COMPILED, SLEEPER, run_to_end, start, unique, version_of, wait_until

HELLO = (COMPILED / "hello.yaml").read_text(encoding="utf-8")
FAILING = (COMPILED / "failing.yaml").read_text(encoding="utf-8")


async def test_healthz_answers(client: KfpClient) -> None:
    assert isinstance(await client.healthz(), dict)


async def test_an_experiment_is_made_once(client: KfpClient) -> None:
    name = unique("experiment")
    assert await client.find_experiment(name) is None
    made = await client.ensure_experiment(name)
    again = await client.ensure_experiment(name)
    assert made.experiment_id
    assert made.experiment_id == again.experiment_id


async def test_pipelines_and_versions(client: KfpClient) -> None:
    name = unique("flight-delay")
    made = await client.upload_pipeline(HELLO, name)
    assert made.pipeline_id is not None
    assert (await client.get_pipeline_by_name(name)).pipeline_id == made.pipeline_id
    with pytest.raises(errors.KfpConflict):
        await client.upload_pipeline(HELLO, name)
    second = await client.upload_pipeline_version(HELLO, made.pipeline_id, "second + 100 %")
    assert second.pipeline_version_id is not None
    versions = (await client.list_versions(made.pipeline_id)).pipeline_versions
    assert {one.pipeline_version_id for one in versions} >= {second.pipeline_version_id}
    assert len(versions) == 2
    found = await client.get_version(made.pipeline_id, second.pipeline_version_id)
    assert found.pipeline_spec
    with pytest.raises(errors.KfpNotFound):
        await client.get_pipeline_by_name(unique("nobody"))


async def test_a_pipeline_that_is_none_is_refused(client: KfpClient) -> None:
    with pytest.raises(errors.KfpInvalid) as caught:
        await client.upload_pipeline("a: [1, 2]\n", unique("broken"))
    assert caught.value.message


async def test_the_run_id_that_we_choose_is_honoured(client: KfpClient) -> None:
    run_id = uuid4()
    run = await start(client, HELLO, run_id=run_id)
    assert run.run_id == str(run_id)
    assert (await client.get_run(run_id)).run_id == str(run_id)
    ended = await wait_until(client, str(run_id), lambda seen: seen.runtime_state.is_terminal)
    assert ended.runtime_state is RuntimeState.SUCCEEDED
    assert ended.ended_at is not None


async def test_a_run_id_is_no_idempotency_key(client: KfpClient) -> None:
    run = await start(client, HELLO)
    again = Run(
        run_id=run.run_id,
        display_name="again",
        experiment_id=run.experiment_id,
        pipeline_version_reference=run.pipeline_version_reference,
    )
    with pytest.raises(errors.KfpServerError) as caught:
        await client.create_run(again)
    assert caught.value.ambiguous


async def test_an_unknown_run_is_not_found(client: KfpClient) -> None:
    with pytest.raises(errors.KfpNotFound) as caught:
        await client.get_run(UUID(int=0))
    assert caught.value.code == 5


async def test_an_unknown_field_is_refused(client: KfpClient) -> None:
    with pytest.raises(errors.KfpInvalid):
        await client.create_run(Run.model_validate({"display_name": "x", "no_such_field": 1}))


async def test_a_run_of_nothing_is_refused(client: KfpClient) -> None:
    with pytest.raises(errors.KfpInvalid):
        await client.create_run(Run(run_id=str(uuid4()), display_name="nothing"))


async def test_lists_are_filtered_and_paged(client: KfpClient) -> None:
    reference = await version_of(client, HELLO)
    experiment = await client.ensure_experiment(unique("listed"))
    ids: set[str] = set()
    for number in range(3):
        run = await client.create_run(
            Run(
                run_id=str(uuid4()),
                display_name=f"100 % + {number}",
                experiment_id=experiment.experiment_id,
                pipeline_version_reference=reference,
            )
        )
        assert run.run_id is not None
        ids.add(run.run_id)
    for run_id in ids:
        await wait_until(client, run_id, lambda seen: seen.runtime_state.is_terminal)
    listed = partial(client.list_runs, experiment_id=experiment.experiment_id)
    pages = client.iterate_runs(
        page_size=1, sort_by="created_at desc", experiment_id=experiment.experiment_id
    )
    paged = [run.run_id async for run in pages]
    assert sorted(one or "" for one in paged) == sorted(ids)
    named = await listed(filter=Filter().equals("display_name", "100 % + 1"))
    assert [run.display_name for run in named.runs] == ["100 % + 1"]
    since = datetime.now(UTC) - timedelta(hours=1)
    done = await listed(filter=finished_since(since).is_in("state", ["SUCCEEDED"]))
    assert {run.run_id for run in done.runs} == ids
    assert done.total_size == 3
    assert (await listed(filter=unfinished())).runs == []
    assert (await listed(filter=finished_since(since + timedelta(hours=2)))).runs == []


async def test_a_run_is_terminated_and_then_cannot_be(client: KfpClient) -> None:
    run = await start(client, SLEEPER)
    assert run.run_id is not None
    running = await wait_until(client, run.run_id, lambda seen: seen.runtime_state is RuntimeState.RUNNING)
    assert running.ended_at is None
    listed = [one.run_id async for one in client.iterate_runs(filter=unfinished())]
    assert run.run_id in listed
    await client.terminate_run(run.run_id)
    ended = await wait_until(client, run.run_id, lambda seen: seen.runtime_state.is_terminal)
    assert ended.runtime_state in (RuntimeState.CANCELED, RuntimeState.FAILED)
    with pytest.raises(errors.KfpInvalid):
        await client.terminate_run(run.run_id)
    with pytest.raises(errors.KfpNotFound):
        await client.terminate_run(UUID(int=0))


async def test_a_failed_run_tells_why_is_revived_and_deleted(client: KfpClient) -> None:
    run = await run_to_end(client, FAILING)
    assert run.run_id is not None
    assert run.runtime_state is RuntimeState.FAILED
    mirror = await ChoosingReader(client).read_run(UUID(run.run_id), run.task_details)
    assert mirror is not None
    failed = next(task for task in mirror.tasks if task.name == "explode")
    assert failed.error is not None
    assert failed.error.message
    pod = failed.pod_name
    assert pod is not None
    log = await client.node_log_text(run.run_id, pod)
    assert "the fuse was lit" in log
    pieces = [piece async for piece in client.node_log(run.run_id, pod)]
    assert b"".join(pieces).decode() == log
    with pytest.raises(errors.KfpNotFound):
        await client.node_log_text(run.run_id, "no-such-pod")
    await client.retry_run(run.run_id)
    # Ends are told in whole seconds, so two of them can look alike; the history only grows.
    lived = len(run.state_history)
    revived = await wait_until(
        client,
        run.run_id,
        lambda seen: seen.runtime_state.is_terminal and len(seen.state_history) > lived,
    )
    assert revived.runtime_state is RuntimeState.FAILED
    await client.delete_run(run.run_id)
    with pytest.raises(errors.KfpNotFound):
        await client.get_run(run.run_id)
