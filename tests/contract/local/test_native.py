"""The local backend with ``--metadata native``: every answer as the coming release describes it."""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import jsonschema
import pytest

from tests.support.local_backend import LocalBackend, start_local_backend

_BESIDE = Path(__file__).resolve().parents[4] / "shared" / "kfp-v2beta1-native-artifacts.swagger.json"
SWAGGER = Path(os.environ.get("KFBRIDGE_KFP_NATIVE_SWAGGER", _BESIDE))
SHAPES = Path(__file__).resolve().parents[3] / "kfp_pipelines" / "compiled" / "shapes.yaml"
PATIENCE_SECONDS = 60.0
pytestmark = pytest.mark.skipif(
    not SWAGGER.is_file(),
    reason="KFP's coming API description is not on this machine (set KFBRIDGE_KFP_NATIVE_SWAGGER)",
)


@cache
def description() -> dict[str, Any]:
    """The swagger document, every object closed: a field that KFP does not know is an error."""
    document: dict[str, Any] = json.loads(SWAGGER.read_text())
    for name, definition in document["definitions"].items():
        if definition.get("properties") and name != "protobufAny":
            definition["additionalProperties"] = False
    # The gateway repeats the message of an error under this name.
    document["definitions"]["googleRpcStatus"]["properties"]["error"] = {"type": "string"}
    return document


def check(response: httpx.Response) -> None:
    """An answer of a described route has the described shape, an error that of a status."""
    response.read()
    operation = operation_of(response.request.method, response.request.url.path)
    described = operation["responses"]
    schema = described.get(str(response.status_code), described["default"])["schema"]
    error = next(validator(schema["$ref"]).iter_errors(response.json()), None)
    assert error is None, f"{response.request.url}: {error.message}"


@cache
def validator(reference: str) -> jsonschema.Draft4Validator:
    return jsonschema.Draft4Validator({"$ref": reference, "definitions": description()["definitions"]})


def operation_of(method: str, path: str) -> dict[str, Any]:
    for template, operations in description()["paths"].items():
        pattern = re.sub(r"\\\{[^/]*?\\\}", "[^/:]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in operations:
            found: dict[str, Any] = operations[method.lower()]
            return found
    raise AssertionError(f"{method} {path} is not described")


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBackend]:
    with start_local_backend(tmp_path_factory.mktemp("native"), metadata="native") as started:
        yield started


@pytest.fixture(scope="module")
def api(backend: LocalBackend) -> Iterator[httpx.Client]:
    """A client each of whose answers is checked."""
    url = f"{backend.url}/apis/v2beta1"
    with httpx.Client(base_url=url, timeout=30, event_hooks={"response": [check]}) as client:
        yield client


@pytest.fixture(scope="module")
def run_id(api: httpx.Client, backend: LocalBackend) -> str:
    """A run with a loop, conditions, a nested pipeline, an exit handler and metrics, at its end."""
    with SHAPES.open("rb") as file:
        url = f"{backend.url}/apis/v2beta1/pipelines/upload"
        pipeline = httpx.post(url, params={"name": "shapes"}, files={"uploadfile": file}).json()
    body = {
        "display_name": "shapes",
        "pipeline_version_reference": {"pipeline_id": pipeline["pipeline_id"]},
        "runtime_config": {"parameters": {"numbers": [1, 2, 3]}},
    }
    made = api.post("/runs", json=body).json()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (state := api.get(f"/runs/{made['run_id']}").json()["state"]) not in ("SUCCEEDED", "FAILED"):
        assert time.monotonic() < deadline, f"the run is still {state}"
        time.sleep(0.05)
    assert state == "SUCCEEDED"
    return str(made["run_id"])


def every(api: httpx.Client, path: str, name: str, **params: Any) -> list[dict[str, Any]]:
    """All rows of a list, page by page."""
    rows: list[dict[str, Any]] = []
    token = ""
    while True:
        page = api.get(path, params={"page_size": 3, "page_token": token, **params}).json()
        rows += page.get(name, [])
        token = page.get("next_page_token", "")
        if not token:
            assert len(rows) == page.get("total_size", 0)
            return rows


def test_a_runs_tasks_artifacts_and_links_hang_together(api: httpx.Client, run_id: str) -> None:
    tasks = {one["task_id"]: one for one in every(api, f"/runs/{run_id}/tasks", "tasks")}
    full = api.get(f"/runs/{run_id}", params={"view": "FULL"}).json()
    assert {one["task_id"]: one for one in full["tasks"]} == tasks
    assert full["task_count"] == len(tasks) == api.get(f"/runs/{run_id}").json()["task_count"]
    (root,) = [one for one in tasks.values() if one["type"] == "ROOT"]
    for task in tasks.values():
        assert api.get(f"/runs/{run_id}/tasks/{task['task_id']}").json() == task
        for child in task.get("child_tasks", ()):
            assert tasks[child["task_id"]]["parent_task_id"] == task["task_id"]
        assert task is root or task["parent_task_id"] in tasks
    assert {one["type"] for one in tasks.values()} == {
        "ROOT",
        "RUNTIME",
        "LOOP",
        "DAG",
        "EXIT_HANDLER",
        "CONDITION",
        "CONDITION_BRANCH",
    }
    artifacts = {one["artifact_id"]: one for one in every(api, "/artifacts", "artifacts")}
    links = every(api, "/artifact_tasks", "artifact_tasks", run_ids=run_id)
    told = [
        (task["task_id"], group["artifact_key"], artifact["artifact_id"])
        for task in tasks.values()
        for side in ("inputs", "outputs")
        for group in task.get(side, {}).get("artifacts", [])
        for artifact in group["artifacts"]
    ]
    assert sorted((one["task_id"], one["key"], one["artifact_id"]) for one in links) == sorted(told)
    assert {one["artifact_id"] for one in links} <= set(artifacts)
    metrics = {one["name"]: one["number_value"] for one in artifacts.values() if one["type"] == "Metric"}
    assert metrics == {"count": 3, "total": 14}


def test_what_a_launcher_sends_is_kept(api: httpx.Client, run_id: str) -> None:
    task = api.post(
        f"/runs/{run_id}/tasks",
        json={
            "name": "outside",
            "type": "RUNTIME",
            "state": "RUNNING",
            "scope_path": "root.outside",
            "pods": [{"name": "pod", "uid": str(uuid4()), "type": "EXECUTOR"}],
            "inputs": {"parameters": [{"parameter_key": "p", "value": 1, "type": "RUNTIME_VALUE_INPUT"}]},
        },
    ).json()
    request = {
        "artifact": {"name": "auc", "type": "Metric", "number_value": 0.5, "namespace": "kubeflow"},
        "run_id": run_id,
        "task_id": task["task_id"],
        "producer_key": "scores",
    }
    made = api.post("/artifacts", json=request).json()
    several = api.post("/artifacts:batchCreate", json={"artifacts": [request, request]}).json()["artifacts"]
    assert len({made["artifact_id"], *(one["artifact_id"] for one in several)}) == 3
    link = {
        "artifact_id": made["artifact_id"],
        "run_id": run_id,
        "task_id": task["task_id"],
        "type": "TASK_OUTPUT_INPUT",
        "producer": {"task_name": "add", "iteration": "2"},
        "key": "given",
    }
    assert api.post("/artifact_tasks", json={"artifact_task": link}).json().items() >= link.items()
    api.post("/artifact_tasks:batchCreate", json={"artifact_tasks": [link]})
    change = {"state": "FAILED", "status_metadata": {"message": "no flights"}}
    changed = api.patch(f"/runs/{run_id}/tasks/{task['task_id']}", json=change).json()
    assert (changed["state"], changed["status_metadata"]) == ("FAILED", {"message": "no flights"})
    bulk = {"tasks": {task["task_id"]: {"cache_fingerprint": "f", "state": "SUCCEEDED"}}}
    api.post(f"/runs/{run_id}/tasks:batchUpdate", json=bulk)
    found = api.post("/tasks:findCached", json={"cache_fingerprint": "f"}).json()["task"]
    assert found["task_id"] == task["task_id"]
    assert [one["artifact_key"] for one in found["outputs"]["artifacts"]] == ["scores"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/artifact_tasks", 400),
        ("GET", "/artifacts?page_size=-1", 400),
        ("GET", "/artifacts?filter=nonsense", 400),
        ("GET", "/artifacts?sort_by=taste", 400),
        ("GET", "/artifacts?page_token=mine", 400),
        ("GET", f"/artifacts/{UUID(int=1)}", 404),
        ("GET", f"/runs/{UUID(int=1)}/tasks", 404),
        ("POST", f"/runs/{UUID(int=1)}/tasks", 400),
        ("POST", "/artifacts", 400),
        ("POST", "/tasks:findCached", 400),
    ],
)
def test_refusals_have_kfps_shape(api: httpx.Client, method: str, path: str, status: int) -> None:
    assert api.request(method, path).status_code == status


def test_kfps_own_client_does_not_mind(backend: LocalBackend, run_id: str) -> None:
    with warnings.catch_warnings():
        # kfp warns of its own dependencies when it is imported, and of itself.
        warnings.simplefilter("ignore")
        import kfp

        client = kfp.Client(host=backend.url)
    run = client.wait_for_run_completion(run_id, timeout=PATIENCE_SECONDS, sleep_duration=0.1)
    assert (run.run_id, run.state) == (run_id, "SUCCEEDED")
    assert [one.run_id for one in client.list_runs().runs] == [run_id]
