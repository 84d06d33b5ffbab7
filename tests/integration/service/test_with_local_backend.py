"""A real service in front of a real local backend, both in processes of their own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from bridge.client.sync import BridgeClient
from tests.integration.service.calls import items, submit, wait_until
from tests.integration.service.pipelines import counts, fails, sleeps, trains
from tests.support.bridge_service import BridgeService, start_service
from tests.support.local_backend import LocalBackend, start_local_backend

GATE = "evaluate.auc >= last_good - 0.01"


@pytest.fixture(scope="session", params=["mlmd", "native"])
def metadata_shape(request: pytest.FixtureRequest) -> str:
    """The service finds out by itself which one it has before it."""
    shape: str = request.param
    return shape


@pytest.fixture
def client(bridge: BridgeService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=bridge.url, timeout=30) as made:
        yield made


def test_a_pipeline_runs_and_everything_of_it_is_mirrored(client: httpx.Client) -> None:
    uri = "file:///data/flights/day=1"
    run = submit(
        client,
        trains(),
        arguments={"epochs": 3},
        inputs=[{"name": "flights", "uri": uri, "version": "v1"}],
        gate=GATE,
    )
    run = wait_until(client, run, over=True)
    assert (run["state"], run["mirror"], run["good"]) == ("SUCCEEDED", "COMPLETE", True), run
    assert run["gate"]["passed"] is True
    tasks = {task["path"]: task for task in items(client, run, "tasks")}
    assert {path: task["state"] for path, task in tasks.items()} == {
        "": "SUCCEEDED",
        "train": "SUCCEEDED",
        "evaluate": "SUCCEEDED",
    }
    (model,) = [one for one in items(client, run, "artifacts") if one["type"] == "system.Model"]
    assert {(use["task_path"], use["direction"]) for use in model["uses"]} == {
        ("train", "OUTPUT"),
        ("evaluate", "INPUT"),
    }
    content = client.get(f"/api/v1/artifacts/{model['artifact_id']}/content")
    assert content.text == "a model of 3 epochs\n"
    metrics = client.get(f"/api/v1/runs/{run['run_id']}/metrics").json()["scalars"]
    assert {metric["key"]: metric["value"] for metric in metrics} == {
        "evaluate.auc": 0.8,
        "evaluate.rows": 842.0,
    }
    explained = client.get(f"/api/v1/runs/{run['run_id']}/explain").json()
    assert [item["uri"] for item in explained["inputs"]] == [uri]
    assert [one["artifact_id"] for one in explained["models"]] == [model["artifact_id"]]
    assert "trained" in client.get(f"/api/v1/runs/{run['run_id']}/logs", params={"task": "train"}).text


def test_a_log_is_followed_while_it_grows(client: httpx.Client, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    run = wait_until(client, submit(client, counts(go_on)), state="RUNNING")
    heard = ""
    with BridgeClient(str(client.base_url)) as bridge:
        for piece in bridge.follow_log(run["run_id"], "count"):
            heard += piece
            if "one" in heard:
                # It waits for whoever follows it: what was written has been told before the end.
                go_on.touch()
    assert [line for line in heard.splitlines() if line in ("one", "two")] == ["one", "two"]
    assert wait_until(client, run, over=True)["state"] == "SUCCEEDED"


def test_a_failed_run_names_its_task_and_its_last_lines(client: httpx.Client) -> None:
    run = wait_until(client, submit(client, fails()), over=True)
    assert (run["state"], run["good"]) == ("FAILED", False)
    assert run["error"]["task"] == "load"
    assert "ValueError: no flights on that day" in run["error"]["log_tail"]
    states = {task["path"]: task["state"] for task in items(client, run, "tasks")}
    assert (states["good"], states["load"]) == ("SUCCEEDED", "FAILED")


def test_tasks_are_seen_while_the_run_goes_on_and_a_cancel_ends_it(client: httpx.Client) -> None:
    run = wait_until(client, submit(client, sleeps()), state="RUNNING")
    answer = client.post(f"/api/v1/runs/{run['run_id']}:cancel", json={"reason": "a test"})
    assert answer.status_code == 202
    run = wait_until(client, run, over=True)
    assert run["state"] == "CANCELED"


def test_the_same_key_fifty_times_is_one_run(client: httpx.Client, local_backend: LocalBackend) -> None:
    key, spec = "fifty", trains()
    ids = {submit(client, spec, key=key, arguments={"epochs": 1})["run_id"] for _ in range(50)}
    assert len(ids) == 1
    run = wait_until(client, {"run_id": ids.pop()}, over=True)
    assert run["attempt"] == 1
    listed = httpx.get(f"{local_backend.url}/apis/v2beta1/runs", params={"page_size": 200}).json()["runs"]
    assert [row["run_id"] for row in listed].count(run["kfp_run_id"]) == 1


def test_a_run_of_another_client_is_found_and_mirrored(
    client: httpx.Client, local_backend: LocalBackend
) -> None:
    # The service of the other shape of metadata has found one, too.
    name = f"from a notebook {uuid4().hex}"
    body = {
        "display_name": name,
        "pipeline_spec": json.loads(trains()),
        "runtime_config": {"parameters": {"epochs": 1}},
    }
    made = httpx.post(f"{local_backend.url}/apis/v2beta1/runs", json=body).json()
    with client.stream("GET", "/api/v1/events", params={"after": 0}, timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:") and '"run.settled"' in line and made["run_id"] in line:
                break
    found = client.get("/api/v1/runs", params={"text": name}).json()["items"]
    assert [run["kfp_run_id"] for run in found] == [made["run_id"]]
    assert found[0]["pipeline"]["name"] == "trains"
    assert items(client, found[0], "artifacts")


def test_a_wrong_token_is_rejected_with_advice(tmp_path: Path) -> None:
    with (
        start_local_backend(tmp_path / "local", token="right") as backend,
        start_service(tmp_path / "bridge", backend.url, env={"KFBRIDGE_KFP_TOKEN": "wrong"}) as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        run = wait_until(client, submit(client, trains(), arguments={"epochs": 1}), over=True)
        assert run["phase"] == "REJECTED"
        assert "KFBRIDGE_KFP_TOKEN" in run["error"]["message"]
        assert client.get("/api/v1/status").json()["backends"][0]["reachable"] is False


def test_a_backend_that_comes_late_gets_the_run_then(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (
        start_service(tmp_path / "bridge", url) as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        run = submit(client, trains(), arguments={"epochs": 1})
        stale = client.get("/api/v1/status").json()
        assert stale["backends"][0]["queued_runs"] == 1
        command = [sys.executable, "-m", "bridge.cli", "local", "--port", str(port)]
        backend = subprocess.Popen(
            [*command, "--data-dir", str(tmp_path / "local")], stdout=subprocess.DEVNULL
        )
        try:
            run = wait_until(client, run, over=True)
        finally:
            backend.terminate()
            backend.wait()
        assert run["state"] == "SUCCEEDED"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_time_with_streams_and_long_polls_open(
    tmp_path: Path, local_backend: LocalBackend, number: signal.Signals
) -> None:
    with start_service(tmp_path, local_backend.url) as service, httpx.Client(base_url=service.url) as client:
        run = submit(client, sleeps(3))
        with client.stream("GET", "/api/v1/events") as stream:
            assert stream.status_code == 200
            assert service.stop(number) == 0
    with (
        start_service(tmp_path, local_backend.url) as again,
        httpx.Client(base_url=again.url, timeout=30) as client,
    ):
        assert wait_until(client, run, over=True)["state"] == "SUCCEEDED"


@pytest.mark.parametrize("crash_at", ["submit.before_post", "submit.after_post", "mirror.before_store"])
def test_a_crash_loses_nothing_and_doubles_nothing(tmp_path: Path, crash_at: str) -> None:
    with start_local_backend(tmp_path / "local") as backend:
        _crash_and_go_on(tmp_path, backend, crash_at)


def _crash_and_go_on(tmp_path: Path, local_backend: LocalBackend, crash_at: str) -> None:
    quick = {
        "KFBRIDGE_LEASE_SECONDS": "2",
        "KFBRIDGE_KFP_TIMEOUT_SECONDS": "2",
        "KFBRIDGE_KFP_ORPHAN_GRACE_SECONDS": "1",
        "KFBRIDGE_KFP_AGENT_BACKOFF_SECONDS": "1",
    }
    crashing = quick | {"KFBRIDGE_CRASH_AT": crash_at}
    with start_service(tmp_path, local_backend.url, env=crashing) as service:
        answer = httpx.post(
            f"{service.url}/api/v1/runs",
            json={"spec": trains(), "arguments": {"epochs": 1}},
            headers={"Idempotency-Key": crash_at},
        )
        assert answer.status_code == 202
        assert service.process.wait(30) == 70
    key = answer.json()["submission_key"]
    with (
        start_service(tmp_path, local_backend.url, env=quick) as again,
        httpx.Client(base_url=again.url, timeout=30) as client,
    ):
        repeated = submit(client, trains(), key=crash_at, arguments={"epochs": 1})
        assert repeated["submission_key"] == key
        wait_until(client, repeated, over=True)
        repeated = submit(client, trains(), key=crash_at, arguments={"epochs": 1})
        run = wait_until(client, repeated, over=True)
        assert (run["state"], run["mirror"]) == ("SUCCEEDED", "COMPLETE")
        attempts = client.get("/api/v1/runs", params={"submission_key": key}).json()["items"]
    rows = httpx.get(f"{local_backend.url}/apis/v2beta1/runs", params={"page_size": 200}).json()["runs"]
    assert [row["run_id"] for row in rows] == [run["kfp_run_id"]]
    assert run["kfp_run_id"] in {attempt["kfp_run_id"] for attempt in attempts}


def test_a_database_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    patience = {"KFBRIDGE_DATABASE_PATIENCE_SECONDS": "0.5"}
    with (
        pytest.raises(RuntimeError, match="kfbridge serve: the lineage database is unavailable"),
        start_service(tmp_path, "http://x", database_url=url, env=patience),
    ):
        pass
