"""Queueing, ending and picking up runs, with components that only pretend to run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.local import store_runs
from bridge.local.status import StatusError
from bridge.local.supervisor import MAX_RESTARTS
from tests.support.local_app import API, LocalApp, PretendRunner, local_app, one_task, until


async def states(local: LocalApp) -> list[str]:
    listed = (await local.client.get(f"{API}/runs", params={"page_size": 200})).json()
    return [run["state"] for run in listed.get("runs", [])]


def task(run: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        one for one in run["run_details"]["task_details"] if one["display_name"] == name
    )
    return found


async def test_a_run_goes_from_pending_to_its_end(tmp_path: Path) -> None:
    async with local_app(tmp_path) as local:
        run = await local.wait_for(await local.create_run(), "SUCCEEDED")
    assert [step["state"] for step in run["state_history"]] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert run["finished_at"] != "1970-01-01T00:00:00Z"
    assert "error" not in run
    assert task(run, "work")["state"] == "SUCCEEDED"
    assert task(run, "work")["parent_task_id"] == task(run, "root")["task_id"]


async def test_a_failing_component_fails_the_run(tmp_path: Path) -> None:
    async with local_app(tmp_path) as local:
        run = await local.wait_for(await local.create_run("fail"), "FAILED")
    assert "work" in run["error"]["message"]
    assert task(run, "work")["error"]["message"]


async def test_what_the_platform_document_of_an_inline_spec_asks_for_reaches_the_component(
    tmp_path: Path,
) -> None:
    (tmp_path / "secrets" / "tok").mkdir(parents=True)
    (tmp_path / "secrets" / "tok" / "password").write_text("s3cret\n")
    secret = {
        "secretNameParameter": {"runtimeValue": {"constant": "tok"}},
        "keyToEnv": [{"secretKey": "password", "envVar": "PASSWORD"}],
    }
    config = {"secretAsEnv": [secret], "nodeSelector": {"labels": {"disk": "ssd"}}}
    spec = {
        "pipeline_spec": one_task(),
        "platform_spec": {
            "platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-work": config}}}}
        },
    }
    async with local_app(tmp_path / "data", secrets_dir=tmp_path / "secrets") as local:
        run = await local.wait_for(await local.create_run(pipeline_spec=spec), "SUCCEEDED")
    (launch,) = local.runner.launches
    assert launch.env["PASSWORD"] == "s3cret"
    running = task(run, "work")["state_history"][1]
    assert running["error"]["code"] == 12
    assert running["error"]["message"].startswith('Not honoured: nodeSelector {"disk": "ssd"}')


async def test_no_more_components_than_slots_run_at_once(tmp_path: Path) -> None:
    async with local_app(tmp_path, max_parallel=2) as local:
        ids = [await local.create_run("wait") for _ in range(5)]

        async def two() -> bool:
            return len(local.runner.launches) == 2

        await until(two)
        assert set(await states(local)) <= {"PENDING", "RUNNING"}
        local.runner.released.set()
        for run_id in ids:
            await local.wait_for(run_id, "SUCCEEDED")
        assert len(local.runner.launches) == 5


async def test_terminating_a_running_run_cancels_its_components(tmp_path: Path) -> None:
    async with local_app(tmp_path) as local:
        run_id = await local.create_run("wait")

        async def started() -> bool:
            return len(local.runner.launches) == 1

        await until(started)
        assert (await local.client.post(f"{API}/runs/{run_id}:terminate")).json() == {}
        run = await local.wait_for(run_id, "CANCELED")
        assert local.runner.cancelled == 1
        assert [step["state"] for step in run["state_history"]] == [
            "PENDING",
            "RUNNING",
            "CANCELING",
            "CANCELED",
        ]
        again = await local.client.post(f"{API}/runs/{run_id}:terminate")
        assert (again.status_code, again.json()["code"]) == (400, 3)


async def test_terminating_a_queued_run_keeps_it_from_starting(tmp_path: Path) -> None:
    async with local_app(tmp_path, max_parallel=1) as local:
        ids = [await local.create_run("wait") for _ in range(8)]
        last = ids[-1]
        await local.client.post(f"{API}/runs/{last}:terminate")
        await local.wait_for(last, "CANCELED")
        local.runner.released.set()
        for run_id in ids[:-1]:
            await local.wait_for(run_id, "SUCCEEDED")
        assert len(local.runner.launches) == 7


async def test_retry_runs_only_what_had_not_finished(tmp_path: Path) -> None:
    runner = PretendRunner()
    async with local_app(tmp_path, runner=runner) as local:
        run_id = await local.create_run("wait")

        async def started() -> bool:
            return len(runner.launches) == 1

        await until(started)
        with pytest.raises(StatusError, match="can be retried"):
            await local.backend.supervisor.retry(run_id)
        await local.client.post(f"{API}/runs/{run_id}:terminate")
        await local.wait_for(run_id, "CANCELED")
        runner.released.set()
        assert (await local.client.post(f"{API}/runs/{run_id}:retry")).status_code == 200
        run = await local.wait_for(run_id, "SUCCEEDED")
        assert len(runner.launches) == 2
        assert task(run, "work")["state"] == "SUCCEEDED"


async def test_a_run_can_be_deleted_while_it_goes_on(tmp_path: Path) -> None:
    async with local_app(tmp_path, max_parallel=1) as local:
        running, queued = await local.create_run("wait"), await local.create_run("wait")

        async def started() -> bool:
            return len(local.runner.launches) == 1

        await until(started)
        for run_id in (running, queued):
            assert (await local.client.delete(f"{API}/runs/{run_id}")).status_code == 200
            assert (await local.client.get(f"{API}/runs/{run_id}")).status_code == 404
        assert local.runner.cancelled >= 1


async def test_a_stopped_backend_continues_its_runs_at_the_next_start(tmp_path: Path) -> None:
    async with local_app(tmp_path) as local:
        going, queued = await local.create_run("wait"), await local.create_run("wait")

        async def started() -> bool:
            return len(local.runner.launches) == 2

        await until(started)
    assert local.runner.cancelled == 2
    runner = PretendRunner()
    runner.released.set()
    async with local_app(tmp_path, runner=runner) as local:
        for run_id in (going, queued):
            run = await local.wait_for(run_id, "SUCCEEDED")
            assert [step["state"] for step in run["state_history"]] == [
                "PENDING",
                "RUNNING",
                "PENDING",
                "RUNNING",
                "SUCCEEDED",
            ]


async def test_a_run_that_was_being_terminated_is_canceled_at_the_next_start(tmp_path: Path) -> None:
    async with local_app(tmp_path) as local:
        run_id = await local.wait_for(await local.create_run(), "SUCCEEDED")
        store = local.backend.store
        await store.write(lambda c: c.execute("UPDATE runs SET state = 'CANCELING', finished_at = 0"))
    async with local_app(tmp_path) as local:
        assert (await local.get_run(run_id["run_id"]))["state"] == "CANCELED"


async def test_a_run_that_never_gets_through_is_given_up(tmp_path: Path) -> None:
    async with local_app(tmp_path) as local:
        run_id = (await local.wait_for(await local.create_run(), "SUCCEEDED"))["run_id"]
        left = "UPDATE runs SET state = 'RUNNING', finished_at = 0, restarts = ?"
        await local.backend.store.write(lambda c: c.execute(left, (MAX_RESTARTS,)))
    async with local_app(tmp_path) as local:
        run = await local.get_run(run_id)
    assert run["state"] == "FAILED"
    assert "was stopped 6 times while this run was going on" in run["error"]["message"]


async def test_a_run_that_gets_on_is_never_given_up(tmp_path: Path) -> None:
    interrupted = "UPDATE runs SET restarts = ?"
    runner = PretendRunner()
    async with local_app(tmp_path, runner=runner) as local:
        run_id = await local.create_run("wait")

        async def started() -> bool:
            return len(runner.launches) == 1

        await until(started)
        await local.backend.store.write(lambda c: c.execute(interrupted, (MAX_RESTARTS,)))
        runner.released.set()
        await local.wait_for(run_id, "SUCCEEDED")
        count = await local.backend.store.read(lambda c: c.execute("SELECT restarts FROM runs").fetchone()[0])
    assert count == 0


async def test_an_error_of_the_backend_itself_ends_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with local_app(tmp_path) as local:
        # A stored spec that no longer loads, as after an upgrade.
        pipeline_id, version_id = await local.upload()
        broken = json.dumps({"pipelineInfo": {"name": "flow"}})
        await local.backend.store.write(lambda c: c.execute("UPDATE specs SET text = ?", (broken,)))
        run_id = await _insert_run(local, pipeline_id, version_id)
        local.backend.supervisor.enqueue(run_id)
        run = await local.wait_for(run_id, "FAILED")
    assert "could not execute the run" in run["error"]["message"]
    assert "could not be executed" in caplog.text


async def _insert_run(local: LocalApp, pipeline_id: str, version_id: str) -> str:
    run_id = "0f1e2d3c-0000-4000-8000-000000000001"
    text = await local.backend.store.read(lambda c: c.execute("SELECT text FROM specs").fetchone()[0])
    new = store_runs.NewRun(
        run_id=run_id,
        display_name="r",
        spec_text=text,
        pipeline_name="flow",
        parameters={},
        inline=False,
        pipeline_id=pipeline_id,
        pipeline_version_id=version_id,
    )
    await local.backend.store.write(lambda connection: store_runs.add_run(connection, new))
    return run_id
