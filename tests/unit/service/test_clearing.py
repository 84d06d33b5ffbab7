"""A failed run of Airflow's is tried again by clearing its task there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.lineage import audit
from bridge.lineage.database import Database
from bridge.service.airflow import Airflow
from bridge.service.airflow_settings import AirflowSettings
from bridge.service.convert import Presenter
from bridge.service.settings import ServiceSettings
from bridge.service.settings_sources import load_settings
from tests.support.fake_airflow import FakeAirflow
from tests.unit.service.harness import Harness, harness
from tests.unit.service.test_repeating import TASK, origin

URL = "http://airflow.example/team-a"
TRAIN = (TASK["dag_id"], TASK["dag_run_id"], TASK["task_id"], -1)


@asynccontextmanager
async def bridged(database: Database, airflow: FakeAirflow, **settings: Any) -> AsyncIterator[Harness]:
    """A service that has a way into the fake."""
    given = AirflowSettings(api_url="http://airflow.example", **settings)
    async with (
        harness(database, airflow=given) as service,
        Airflow(given, given.api_url or "", airflow.transport) as there,
    ):
        service.context.airflow = there
        service.context.presenter = Presenter(service.context.settings, there)
        yield service


async def failed(service: Harness, **changes: Any) -> dict[str, Any]:
    """A run that Airflow asked for and that failed."""
    run = await service.submitted(None, origin=origin(1, **changes))
    return await service.ended(run, "FAILED")


async def clear(service: Harness, run: dict[str, Any]) -> httpx.Response:
    return await service.client.post(f"/api/v1/runs/{run['run_id']}:clear", json={})


def refused(answer: httpx.Response, status: int, slug: str) -> str:
    told = answer.json()
    assert (answer.status_code, told["type"]) == (status, f"urn:kfbridge:problem:{slug}"), answer.text
    return str(told["detail"])


async def test_the_task_is_cleared_with_what_comes_after_it_and_it_is_audited(database: Database) -> None:
    airflow = FakeAirflow(
        {TRAIN: "failed"}, after={"train": ["register"]}, users={"kfbridge": "a pass phrase"}
    )
    async with bridged(database, airflow, username="kfbridge", password="a pass phrase") as service:
        run = await failed(service)
        assert run["clearable"] is True
        answer = await clear(service, run)
        assert answer.status_code == 202
        assert answer.json() == {
            "run_id": run["run_id"],
            "dag_id": TASK["dag_id"],
            "dag_run_id": TASK["dag_run_id"],
            "tasks": ["train", "register"],
        }
        (body,) = airflow.bodies
        assert (body["task_ids"], body["only_failed"], body["reset_dag_runs"]) == (["train"], False, True)
        told = await service.context.store.read(lambda s: audit.newest(s, limit=10))
        asked, cleared = sorted(
            (one for one in told if one.action.startswith("task.")), key=lambda one: one.id
        )
        assert (asked.action, asked.after["task_id"]) == ("task.clear", "train")
        assert (cleared.action, cleared.after["tasks"]) == ("task.cleared", ["train", "register"])


async def test_a_run_whose_place_a_later_try_took_and_a_good_one_are_not_cleared(database: Database) -> None:
    airflow = FakeAirflow({TRAIN: "failed"})
    async with bridged(database, airflow) as service:
        first = await failed(service)
        second = await service.submitted(None, origin=origin(2))
        assert second["run_id"] != first["run_id"]
        assert "later try" in refused(await clear(service, first), 409, "superseded")
        second = await service.ended(second, "SUCCEEDED")
        assert "succeeded" in refused(await clear(service, second), 409, "not-clearable")
    assert airflow.bodies == []


async def test_a_run_whose_task_was_cleared_already_is_not_cleared_again(database: Database) -> None:
    airflow = FakeAirflow({TRAIN: "failed"})
    async with bridged(database, airflow) as service:
        first = await failed(service)
        await failed(service, max_tries=3)
        assert "later try" in refused(await clear(service, first), 409, "superseded")
    assert airflow.bodies == []


async def test_what_airflow_refuses_to_clear_was_written_down_as_asked(database: Database) -> None:
    airflow = FakeAirflow({TRAIN: "running"})
    async with bridged(database, airflow) as service:
        refused(await clear(service, await failed(service)), 409, "not-clearable")
        told = await service.context.store.read(lambda s: audit.newest(s, limit=10))
        assert [one.action for one in told if one.action.startswith("task.")] == ["task.clear"]


async def test_a_task_that_airflow_is_not_done_with_is_left_alone(database: Database) -> None:
    airflow = FakeAirflow({TRAIN: "up_for_retry"})
    async with bridged(database, airflow) as service:
        run = await failed(service)
        assert "up_for_retry" in refused(await clear(service, run), 409, "not-clearable")
        airflow.states[TRAIN] = None
        assert "none yet" in refused(await clear(service, run), 409, "not-clearable")
    assert airflow.bodies == []


async def test_a_run_that_goes_on_is_not_cleared(database: Database) -> None:
    airflow = FakeAirflow({TRAIN: "failed"})
    async with bridged(database, airflow) as service:
        run = await service.submitted(None, origin=origin(1))
        refused(await clear(service, run), 409, "not-clearable")
    assert airflow.requests == []


async def test_a_mapped_task_is_cleared_alone(database: Database) -> None:
    airflow = FakeAirflow({(*TRAIN[:3], 2): "failed"})
    async with bridged(database, airflow) as service:
        run = await failed(service, map_index=2)
        assert (await clear(service, run)).json()["tasks"] == ["train[2]"]
    assert airflow.bodies[0]["task_ids"] == [["train", 2]]


async def test_names_lead_nowhere_else(database: Database) -> None:
    airflow = FakeAirflow({("a/b", "x?y#z", "train", -1): "failed"})
    async with bridged(database, airflow) as service:
        run = await failed(service, dag_id="a/b", dag_run_id="x?y#z")
        assert (await clear(service, run)).status_code == 202
        before = len(airflow.requests)
        dots = await failed(service, dag_id="..")
        refused(await clear(service, dots), 409, "not-clearable")
    assert len(airflow.requests) == before


async def test_without_a_way_into_airflow_it_is_refused_and_said(service: Harness) -> None:
    run = await failed(service)
    assert run["clearable"] is False
    assert "airflow" in refused(await clear(service, run), 409, "not-clearable")


async def test_only_runs_of_the_deployment_are_cleared(database: Database) -> None:
    airflow = FakeAirflow({TRAIN: "failed"})
    async with bridged(database, airflow, deployment="risk") as service:
        foreign = await failed(service)
        assert foreign["clearable"] is False
        refused(await clear(service, foreign), 409, "not-clearable")
        ours = await failed(service, deployment="risk")
        assert (await clear(service, ours)).status_code == 202
        by_hand = await service.ended(await service.submitted("by hand"), "FAILED")
        assert ":retry" in refused(await clear(service, by_hand), 409, "not-clearable")


async def test_a_token_that_is_over_is_renewed(database: Database, tmp_path: Path) -> None:
    airflow = FakeAirflow({TRAIN: "failed"}, users={"kfbridge": "one"})
    file = tmp_path / "password"
    file.write_text("one\n")
    async with bridged(database, airflow, username="kfbridge", password_file=file) as service:
        run = await failed(service)
        assert (await clear(service, run)).status_code == 202
        airflow.forget_tokens()
        airflow.states[TRAIN] = "failed"
        airflow.users["kfbridge"] = "two"
        told = refused(await clear(service, run), 502, "scheduler-refused")
        assert "no token to kfbridge: 401 Invalid credentials" in told
        file.write_text("two\n")
        assert (await clear(service, run)).status_code == 202
        file.unlink()
        airflow.forget_tokens()
        refused(await clear(service, run), 502, "scheduler-refused")


async def test_what_airflow_refuses_and_when_it_is_away(database: Database) -> None:
    airflow = FakeAirflow()
    async with bridged(database, airflow) as service:
        run = await failed(service)
        assert "was not found" in refused(await clear(service, run), 502, "scheduler-refused")
        airflow.status = 403
        assert "as the test wished" in refused(await clear(service, run), 502, "scheduler-refused")
        airflow.status = 503
        answer = await clear(service, run)
        refused(answer, 503, "scheduler-unavailable")
        assert answer.headers["retry-after"] == "10"
        airflow.status = 302
        refused(await clear(service, run), 502, "scheduler-refused")


async def test_an_airflow_that_cannot_be_reached(database: Database) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody listens", request=request)

    async with bridged(database, FakeAirflow()) as service:
        given = AirflowSettings(api_url="http://airflow.example", token="t")
        service.context.airflow = Airflow(given, "http://airflow.example", httpx.MockTransport(away))
        refused(await clear(service, await failed(service)), 503, "scheduler-unavailable")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "airflow_url or api_url"),
        ({"api_url": "airflow:8080"}, "pattern"),
        ({"api_url": URL, "token": "t", "username": "ada", "password": "p"}, "not several of them"),
        ({"api_url": URL, "username": "ada"}, "password or password_file"),
        ({"api_url": URL, "password": "p"}, "username takes password"),
    ],
)
def test_settings_that_name_no_way_are_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ServiceSettings.model_validate({"airflow": given})


def test_the_environment_names_the_way(tmp_path: Path) -> None:
    variables = {"KFBRIDGE_AIRFLOW_URL": URL, "KFBRIDGE_AIRFLOW_TOKEN_FILE": str(tmp_path / "token")}
    settings = load_settings(variables)
    assert settings.airflow is not None
    assert (settings.airflow_api_url, settings.airflow.token_file) == (URL, tmp_path / "token")
    assert load_settings({"KFBRIDGE_AIRFLOW_URL": URL}).airflow_api_url is None
