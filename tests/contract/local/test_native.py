"""The local backend with ``--metadata native``: every answer as the coming release describes it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.support.fuzzing import fuzz
from tests.support.kfp_swagger import Metadata, swagger, swagger_file
from tests.support.local_backend import LocalBackend

SHAPES = Path(__file__).resolve().parents[3] / "kfp_pipelines" / "compiled" / "shapes.yaml"
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def metadata_shape() -> Metadata:
    """The coming one, for this module."""
    return "native"


@pytest.fixture(scope="module")
def api(backend: LocalBackend) -> Iterator[httpx.Client]:
    """A client; each answer that it gets is checked."""
    with httpx.Client(base_url=f"{backend.url}/apis/v2beta1", timeout=30) as client:
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
    kinds = {
        (one["parameter_key"], one["type"]): one.get("producer")
        for task in tasks.values()
        for one in task.get("inputs", {}).get("parameters", [])
    }
    assert ("numbers", "RUNTIME_VALUE_INPUT") in kinds
    assert ("limit", "COMPONENT_DEFAULT_INPUT") in kinds
    assert {"task_name": "for-loop-1"} in [
        producer for (_, kind), producer in kinds.items() if kind == "COLLECTED_INPUTS"
    ]
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


@pytest.mark.timeout(150)
@pytest.mark.skipif(swagger_file("native") is None, reason="the coming API's description is not here")
def test_nothing_that_is_sent_breaks_it(
    api: httpx.Client, backend: LocalBackend, run_id: str, tmp_path: Path
) -> None:
    """The new operations alone: the others are those of the other shape."""
    description = dict(swagger("native"))
    description["paths"] = {
        path: item for path, item in description["paths"].items() if re.search("artifact|tasks", path)
    }
    # Tasks of its own, which can be changed, and as many as are used up.
    tasks = [
        api.post(f"/runs/{run_id}/tasks", json={"name": f"t{one}"}).json()["task_id"] for one in range(3)
    ]
    artifacts = [one["artifact_id"] for one in api.get("/artifacts").json()["artifacts"]]
    known = {
        "run_id": [run_id],
        "task_id": tasks,
        "artifact_id": artifacts,
        "run_ids": [run_id],
        "task_ids": tasks,
        "artifact_ids": artifacts,
    }
    found = fuzz(description, backend.url, tmp_path, known=known, max_seconds=20)
    assert found.passed, found.said
    assert "Traceback" not in (backend.data_dir / "stderr.log").read_text()
