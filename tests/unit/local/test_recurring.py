"""Recurring runs: what is refused, what is shown, and the runs that they make."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.local.scheduler import Scheduler
from tests.support.local_app import API, LocalApp, PretendRunner, local_app, one_task, until
from tests.unit.local.test_routes import refused

PATH = f"{API}/recurringruns"
NEVER = "1970-01-01T00:00:00Z"


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalApp]:
    async with local_app(tmp_path) as started:
        yield started


def body(**fields: Any) -> dict[str, Any]:
    return {
        "display_name": "Every night!",
        "pipeline_spec": one_task(day='str=""'),
        "max_concurrency": "1",
        "trigger": {"cron_schedule": {"cron": "0 0 2 * * *"}},
        "mode": "ENABLE",
        **fields,
    }


async def create(local: LocalApp, **fields: Any) -> dict[str, Any]:
    answer = await local.client.post(PATH, json=body(**fields))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def runs_of(local: LocalApp, recurring_run_id: str) -> list[dict[str, Any]]:
    predicate = {"operation": "EQUALS", "key": "recurring_run_id", "string_value": recurring_run_id}
    params = {"filter": json.dumps({"predicates": [predicate]}), "sort_by": "scheduled_at"}
    listed = (await local.client.get(f"{API}/runs", params=params)).json()
    runs: list[dict[str, Any]] = listed.get("runs", [])
    return runs


class Clock:
    """A clock that is set by hand, and the scheduler of a backend that goes by it."""

    def __init__(self, local: LocalApp, now: float) -> None:
        self.now = now
        backend = local.backend
        self.scheduler = Scheduler(
            backend.store, backend.specs, backend.supervisor.enqueue, now=lambda: self.now
        )


async def test_the_life_of_a_recurring_run(local: LocalApp) -> None:
    made = await create(local, description="d", no_catchup=True, service_account="robot")
    assert made["mode"] == "ENABLE"
    assert made["status"] == "ENABLED"
    assert made["max_concurrency"] == "1"
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * *"}}
    assert made["no_catchup"] is True
    assert made["pipeline_spec"]["pipelineInfo"]["name"] == "flow"
    default = (await local.client.get(f"{API}/experiments")).json()["experiments"][0]
    assert made["experiment_id"] == default["experiment_id"]
    path = f"{PATH}/{made['recurring_run_id']}"
    assert (await local.client.get(path)).json() == made
    listed = (await local.client.get(PATH, params={"experiment_id": made["experiment_id"]})).json()
    assert listed == {"recurringRuns": [made], "total_size": 1}

    assert (await local.client.post(f"{path}:disable")).json() == {}
    disabled = (await local.client.get(path)).json()
    assert (disabled["mode"], disabled["status"]) == ("DISABLE", "DISABLED")
    assert (await local.client.post(f"{path}:enable")).json() == {}
    assert (await local.client.get(path)).json()["status"] == "ENABLED"
    assert (await local.client.delete(path, params={"propagation_policy": "ORPHAN"})).json() == {}
    for method, gone in [("GET", path), ("DELETE", path), ("POST", f"{path}:enable")]:
        refused(await local.client.request(method, gone), 404, 5, "not found")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"display_name": ""}, "name is empty"),
        ({"max_concurrency": 0}, "at least 1 and at most 10"),
        ({"max_concurrency": "11"}, "at least 1 and at most 10"),
        ({"max_concurrency": "many"}, "max_concurrency"),
        ({"trigger": {"cron_schedule": {"cron": "whenever"}}}, "not a supported format"),
        ({"trigger": {"periodic_schedule": {"interval_second": "0"}}}, "interval 0"),
        ({"trigger": {"periodic_schedule": {"interval_second": 2**63}}}, "64 bits"),
        ({"trigger": {"cron_schedule": {"cron": "@daily", "start_time": "soon"}}}, "start_time"),
        ({"trigger": {"cron_schedule": {"cron": "@daily"}, "periodic_schedule": {}}}, "either"),
        ({"mode": "ON"}, "mode"),
        ({"pipeline_spec": None}, "specify a pipeline"),
        ({"runtime_config": {"parameters": {"dya": "x"}}}, "dya"),
        ({"colour": "red"}, 'unknown field "colour"'),
    ],
)
async def test_what_is_refused(local: LocalApp, change: dict[str, Any], message: str) -> None:
    refused(await local.client.post(PATH, json=body(**change)), 400, 3, message)
    assert (await local.client.get(PATH)).json() == {}


async def test_an_experiment_or_pipeline_that_is_not_there(local: LocalApp) -> None:
    refused(await local.client.post(PATH, json=body(experiment_id="x")), 404, 5, "not found")
    by_id = body(pipeline_spec=None, pipeline_version_reference={"pipeline_id": "x"})
    refused(await local.client.post(PATH, json=by_id), 404, 5, "not found")
    refused(await local.client.get(PATH, params={"experiment_id": "x"}), 404, 5, "not found")


async def test_an_unspecified_mode_is_disabled(local: LocalApp) -> None:
    made = await create(local, mode=None, trigger={"periodic_schedule": {"interval_second": 60}})
    assert made["status"] == "DISABLED"
    assert made["trigger"] == {"periodic_schedule": {"interval_second": "60"}}


async def test_times_come_back_as_they_were_sent(local: LocalApp) -> None:
    schedule = {"cron": "@yearly", "start_time": "0001-01-01T00:00:00Z", "end_time": "9999-12-31T23:59:59Z"}
    made = await create(local, trigger={"cron_schedule": schedule})
    assert made["trigger"] == {"cron_schedule": schedule}
    shifted = {"interval_second": "9", "start_time": "2026-03-01T13:00:00.5+01:00"}
    made = await create(local, mode="DISABLE", trigger={"periodic_schedule": shifted})
    assert made["trigger"]["periodic_schedule"]["start_time"] == "2026-03-01T12:00:00Z"


async def test_archiving_an_experiment_disables_its_recurring_runs(local: LocalApp) -> None:
    experiment = (await local.client.post(f"{API}/experiments", json={"display_name": "e"})).json()
    made = await create(local, experiment_id=experiment["experiment_id"])
    path = f"{API}/experiments/{experiment['experiment_id']}"
    for action in (":archive", ":unarchive"):
        await local.client.post(f"{path}{action}")
        shown = (await local.client.get(f"{PATH}/{made['recurring_run_id']}")).json()
        assert shown["status"] == "DISABLED"


async def test_runs_are_made_when_they_are_due_and_never_twice(local: LocalApp) -> None:
    trigger = {"periodic_schedule": {"interval_second": "3600"}}
    parameters = {"day": "[[ScheduledTime.2006-01-02]] no. [[Index]]"}
    made = await create(local, trigger=trigger, runtime_config={"parameters": parameters})
    recurring_run_id = made["recurring_run_id"]
    row = await local.backend.store.read(lambda c: c.execute("SELECT * FROM recurring_runs").fetchone())
    clock = Clock(local, row["created_at"])
    assert await clock.scheduler.sweep() == 30.0
    assert await runs_of(local, recurring_run_id) == []

    clock.now = row["created_at"] + 3590
    assert await clock.scheduler.sweep() == 10.0
    clock.now += 10
    await clock.scheduler.sweep()
    (run,) = await runs_of(local, recurring_run_id)
    assert run["display_name"].startswith(f"everynight{recurring_run_id[:5]}-1-")
    assert run["recurring_run_id"] == recurring_run_id
    await local.wait_for(run["run_id"], "SUCCEEDED")
    # Two hours later: both are made, one after the other, since one may run at once.
    clock.now += 7200
    for count in (2, 3):
        await clock.scheduler.sweep()
        runs = await runs_of(local, recurring_run_id)
        assert len(runs) == count
        await local.wait_for(runs[-1]["run_id"], "SUCCEEDED")
    await clock.scheduler.sweep()
    # The components are told for when the run was due, not when it began.
    (told,) = {
        launch.placeholders.replace("{{$.pipeline_job_schedule_time_utc}}")
        for launch in local.runner.launches[:1]
    }
    assert told == runs[0]["scheduled_at"]
    runs = await runs_of(local, recurring_run_id)
    assert [run["runtime_config"]["parameters"]["day"].partition(" ")[2] for run in runs] == [
        "no. 1",
        "no. 2",
        "no. 3",
    ]
    assert len({run["scheduled_at"] for run in runs}) == 3


async def test_as_many_as_may_run_at_once_are_made(tmp_path: Path) -> None:
    async with local_app(tmp_path) as local:
        trigger = {"periodic_schedule": {"interval_second": 10}}
        made = await create(local, trigger=trigger, max_concurrency=2, pipeline_spec=one_task("wait"))
        row = await local.backend.store.read(lambda c: c.execute("SELECT * FROM recurring_runs").fetchone())
        clock = Clock(local, row["created_at"] + 100)
        await clock.scheduler.sweep()
        await clock.scheduler.sweep()
        assert len(await runs_of(local, made["recurring_run_id"])) == 2
        await local.client.post(f"{PATH}/{made['recurring_run_id']}:disable")
        local.runner.released.set()
        for run in await runs_of(local, made["recurring_run_id"]):
            await local.wait_for(run["run_id"], "SUCCEEDED")
        await clock.scheduler.sweep()
        assert len(await runs_of(local, made["recurring_run_id"])) == 2


async def test_without_a_version_every_run_takes_the_newest_one(local: LocalApp) -> None:
    pipeline_id, version_id = await local.upload("flow")
    reference = {"pipeline_id": pipeline_id}
    trigger = {"periodic_schedule": {"interval_second": 10}}
    made = await create(
        local, pipeline_spec=None, pipeline_version_reference=reference, trigger=trigger, max_concurrency=5
    )
    pinned = await create(
        local,
        pipeline_spec=None,
        pipeline_version_reference={**reference, "pipeline_version_id": version_id},
        trigger=trigger,
    )
    assert made["pipeline_version_reference"] == reference
    assert pinned["pipeline_version_reference"]["pipeline_version_id"] == version_id
    newer = await local.client.post(
        f"{API}/pipelines/upload_version",
        params={"name": "two", "pipelineid": pipeline_id},
        files={"uploadfile": ("flow.json", json.dumps(one_task()))},
    )
    clock = Clock(local, 0)
    row = await local.backend.store.read(lambda c: c.execute("SELECT * FROM recurring_runs").fetchone())
    clock.now = row["created_at"] + 11
    await clock.scheduler.sweep()
    (run,) = await runs_of(local, made["recurring_run_id"])
    assert run["pipeline_version_reference"]["pipeline_version_id"] == newer.json()["pipeline_version_id"]
    (run,) = await runs_of(local, pinned["recurring_run_id"])
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version_id

    # A pipeline that is gone makes no run; why is told, and the others go on.
    await local.client.delete(f"{API}/pipelines/{pipeline_id}", params={"cascade": "true"})
    clock.now += 11
    await clock.scheduler.sweep()
    shown = (await local.client.get(f"{PATH}/{made['recurring_run_id']}")).json()
    assert "not found" in shown["error"]["message"]
    await local.wait_for(run["run_id"], "SUCCEEDED")
    await clock.scheduler.sweep()
    assert len(await runs_of(local, pinned["recurring_run_id"])) == 2


async def test_a_restarted_backend_goes_on_counting(tmp_path: Path) -> None:
    async with local_app(tmp_path) as local:
        made = await create(local, trigger=None)
        recurring_run_id = made["recurring_run_id"]

        async def one() -> bool:
            runs = await runs_of(local, recurring_run_id)
            return len(runs) == 1 and runs[0]["state"] == "SUCCEEDED"

        await until(one)
    async with local_app(tmp_path, runner=PretendRunner()) as local:
        # It had no schedule: there was one run, at once, and there is no other.
        await local.backend.scheduler.sweep()
        assert len(await runs_of(local, recurring_run_id)) == 1
        assert (await local.client.get(f"{PATH}/{recurring_run_id}")).json() == made


async def test_a_data_directory_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    async with local_app(tmp_path) as local:
        run_id = await local.create_run()
        await local.wait_for(run_id, "SUCCEEDED")

        def older(connection: Any) -> None:
            connection.execute("DROP TABLE recurring_runs")
            connection.execute("DROP INDEX runs_by_recurring_run")
            connection.execute("PRAGMA user_version = 1")

        await local.backend.store.write(older)
    async with local_app(tmp_path) as local:
        assert (await local.get_run(run_id))["state"] == "SUCCEEDED"
        await create(local)
