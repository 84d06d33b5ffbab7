"""The native API of artifacts and tasks, over runs that the driver told of and over what callers add."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from bridge.domain.states import RuntimeState
from bridge.local.recording import StoredArtifact, TaskCreated, TaskResult, task_id_of
from tests.support.local_app import API, LocalApp, local_app
from tests.unit.local.test_store_tasks import METRICS, MODEL, NOON, Scribe

ROC = StoredArtifact(
    schema_title="system.ClassificationMetrics", uri="file:///data/roc", metadata={"confidenceMetrics": [{}]}
)


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalApp]:
    async with local_app(tmp_path, metadata="native") as started:
        yield started


@pytest.fixture
async def scribe(local: LocalApp) -> Scribe:
    made = Scribe(local, uuid4())
    await made.begin()
    return made


async def ask(local: LocalApp, path: str, **params: Any) -> dict[str, Any]:
    answer = await local.client.get(f"{API}/{path}", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def send(local: LocalApp, path: str, body: Any, method: str = "POST") -> dict[str, Any]:
    answer = await local.client.request(method, f"{API}/{path}", json=body)
    assert answer.status_code == 200, answer.text
    sent: dict[str, Any] = answer.json()
    return sent


async def refused(local: LocalApp, method: str, path: str, body: Any = None) -> tuple[int, str]:
    answer = await local.client.request(method, f"{API}/{path}", json=body)
    assert answer.status_code >= 400, answer.text
    return answer.status_code, answer.json()["message"]


async def tasks_of(local: LocalApp, run_id: UUID) -> dict[str, dict[str, Any]]:
    listed = await ask(local, f"runs/{run_id}/tasks", page_size=200)
    return {f"{one['scope_path']}#{iteration_of(one)}": one for one in listed["tasks"]}


def iteration_of(task: dict[str, Any]) -> str:
    found: str = task.get("type_attributes", {}).get("iteration_index", "")
    return found


async def train(scribe: Scribe, path: str = "train", **more: Any) -> None:
    await scribe.create(path, **more)
    await scribe.start(path, pod_name=f"pod-{path}", parameters={"epochs": 3})
    await scribe.finish(
        path, result=TaskResult(parameters={"best": 2}, artifacts={"model": (MODEL,), "scores": (METRICS,)})
    )


async def test_only_the_shape_that_is_set_is_served(tmp_path: Path) -> None:
    native = ("artifacts", "artifact_tasks?run_ids=x", f"runs/{uuid4()}/tasks")
    mlmd = "/ml_metadata.MetadataStoreService/GetContexts"
    grpc = {"content-type": "application/grpc-web+proto"}
    async with local_app(tmp_path / "one") as served:
        for path in native:
            answer = await served.client.get(f"{API}/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, 5)
        assert (await served.client.post(mlmd, headers=grpc)).status_code == 200
    async with local_app(tmp_path / "two", metadata="native") as served:
        assert (await served.client.get(f"{API}/artifacts")).json() == {}
        assert (await served.client.post(mlmd, headers=grpc)).status_code == 404


async def test_a_run_counts_its_tasks_and_tells_them_if_asked(local: LocalApp, scribe: Scribe) -> None:
    await train(scribe)
    run = await ask(local, f"runs/{scribe.run_id}")
    assert run["task_count"] == 2
    assert not {"tasks", "run_details"} & set(run)
    full = await ask(local, f"runs/{scribe.run_id}", view="FULL")
    assert [task["name"] for task in full["tasks"]] == ["ROOT", "train"]
    listed = await ask(local, "runs", view="FULL")
    assert listed["runs"][0]["tasks"] == full["tasks"]
    assert (await refused(local, "GET", f"runs/{scribe.run_id}?view=HALF"))[0] == 400


async def test_a_task_is_told_with_all_that_belongs_to_it(local: LocalApp, scribe: Scribe) -> None:
    await train(scribe)
    await scribe.create("waits")
    tasks = await tasks_of(local, scribe.run_id)
    # Its driver has not run: KFP knows no such task yet.
    assert set(tasks) == {"root#", "root.train#"}
    root, task = tasks["root#"], tasks["root.train#"]
    assert (root["type"], root["state"]) == ("ROOT", "RUNNING")
    assert root["child_tasks"] == [{"task_id": task["task_id"], "name": "train"}]
    assert (task["type"], task["state"], task["parent_task_id"]) == ("RUNTIME", "SUCCEEDED", root["task_id"])
    assert task["pods"] == [{"name": "pod-train", "type": "EXECUTOR"}]
    assert [step["state"] for step in task["state_history"]] == ["RUNNING", "SUCCEEDED"]
    assert task["inputs"]["parameters"] == [
        {"value": 3, "type": "COMPONENT_INPUT", "parameter_key": "epochs"}
    ]
    producer = {"task_name": "train"}
    assert task["outputs"]["parameters"] == [
        {"value": 2, "type": "OUTPUT", "parameter_key": "best", "producer": producer}
    ]
    model, scores = task["outputs"]["artifacts"]
    assert (model["artifact_key"], model["type"], model["producer"]) == ("model", "OUTPUT", producer)
    assert (model["artifacts"][0]["type"], model["artifacts"][0]["uri"]) == ("Model", MODEL.uri)
    assert model["artifacts"][0]["metadata"] == {"layers": [8, 4]}
    assert [one["name"] for one in scores["artifacts"]] == ["auc", "rows", "good", "note"]
    assert await ask(local, f"runs/{scribe.run_id}/tasks/{task['task_id']}") == task
    assert (await refused(local, "GET", f"runs/{scribe.run_id}/tasks/{uuid4()}"))[0] == 404
    assert (await refused(local, "GET", f"runs/{uuid4()}/tasks"))[0] == 404


async def test_metrics_are_an_artifact_each(local: LocalApp, scribe: Scribe) -> None:
    await scribe.create("evaluate")
    await scribe.start("evaluate", pod_name="pod-1")
    odd = StoredArtifact(schema_title="system.Metrics", uri="", metadata={"loss": float("nan"), "f1": 0.5})
    await scribe.finish("evaluate", result=TaskResult(artifacts={"a": (METRICS,), "b": (odd,), "c": (ROC,)}))
    listed = (await ask(local, "artifacts"))["artifacts"]
    told = {one["name"]: (one["type"], one.get("number_value"), one.get("metadata")) for one in listed}
    assert told == {
        "auc": ("Metric", 0.75, {"auc": 0.75}),
        "rows": ("Metric", 1000, {"rows": 1000}),
        "good": ("Metric", 1, {"good": True}),
        "note": ("Metric", None, {"note": "fine"}),
        "loss": ("Metric", None, {"loss": "NaN"}),
        "f1": ("Metric", 0.5, {"f1": 0.5}),
        "c": ("ClassificationMetric", None, {"confidenceMetrics": [{}]}),
    }
    assert not any("uri" in one for one in listed)
    for one in listed:
        assert await ask(local, f"artifacts/{one['artifact_id']}") == one
        assert UUID(one["artifact_id"]).version == 8
    for unknown in (uuid4(), "x", "00000009-0000-8001-8000-ffffffffffff"):
        assert (await refused(local, "GET", f"artifacts/{unknown}"))[0] == 404


async def test_what_runs_in_a_loop_belongs_to_the_loop(local: LocalApp, scribe: Scribe) -> None:
    await scribe.create("for-loop-1", kind="dag", iteration_count=2)
    await scribe.start("for-loop-1")
    for index in (0, 1):
        within = f"for-loop-1[{index}]"
        await local_iteration(scribe, within, index)
        await train(scribe, f"{within}.train")
        model = (StoredArtifact(schema_title="system.Model", uri="", artifact_id=index * 2 + 1),)
        await scribe.finish(within, result=TaskResult(artifacts={"models": model}))
    await scribe.finish("for-loop-1", result=TaskResult(parameters={"best": [2, 2]}))
    await scribe.create("compare")
    given = tuple(StoredArtifact(schema_title="system.Model", uri="", artifact_id=one) for one in (1, 3))
    await scribe.start("compare", artifacts={"models": given})
    tasks = await tasks_of(local, scribe.run_id)
    assert set(tasks) == {
        "root#",
        "root.for-loop-1#",
        "root.for-loop-1.train#0",
        "root.for-loop-1.train#1",
        "root.compare#",
    }
    loop = tasks["root.for-loop-1#"]
    assert (loop["type"], loop["type_attributes"]) == ("LOOP", {"iteration_count": "2"})
    assert [one["producer"]["iteration"] for one in loop["outputs"]["parameters"]] == ["0", "1"]
    inner = tasks["root.for-loop-1.train#1"]
    assert inner["parent_task_id"] == loop["task_id"]
    assert inner["outputs"]["artifacts"][0]["type"] == "ITERATOR_OUTPUT"
    assert inner["outputs"]["artifacts"][0]["producer"] == {"task_name": "train", "iteration": "1"}
    gathered = loop["outputs"]["artifacts"]
    assert [(one["type"], one["producer"]) for one in gathered] == [
        ("ITERATOR_OUTPUT", {"task_name": "train", "iteration": "0"}),
        ("ITERATOR_OUTPUT", {"task_name": "train", "iteration": "1"}),
    ]
    (got,) = tasks["root.compare#"]["inputs"]["artifacts"]
    assert (got["type"], got["producer"]) == ("COLLECTED_INPUTS", {"task_name": "for-loop-1"})
    assert [one["type"] for one in got["artifacts"]] == ["Model", "Model"]


async def local_iteration(scribe: Scribe, path: str, index: int) -> None:
    """An iteration, which the driver names like its loop."""
    await scribe.recorder.task_created(
        TaskCreated(
            kfp_run_id=scribe.run_id,
            task_id=task_id_of(scribe.run_id, path),
            parent_task_id=task_id_of(scribe.run_id, path.partition("[")[0]),
            name=path.partition("[")[0],
            display_name="",
            path=path,
            kind="dag",
            created_at=NOON,
            iteration=index,
        )
    )
    await scribe.start(path)


async def test_states_are_told_in_the_native_words(local: LocalApp, scribe: Scribe) -> None:
    ends = {
        "done": (RuntimeState.SUCCEEDED, {}),
        "bad": (RuntimeState.FAILED, {"message": "no flights"}),
        "stopped": (RuntimeState.CANCELED, {"message": "terminated"}),
        "off": (RuntimeState.SKIPPED, {"message": "its condition is false"}),
    }
    for path, (state, more) in ends.items():
        await scribe.create(path)
        await scribe.start(path, pod_name=path)
        await scribe.finish(path, state, **more)
    await scribe.create("again")
    await scribe.finish("again", RuntimeState.SKIPPED, cached_task_id=uuid4())
    tasks = await tasks_of(local, scribe.run_id)
    assert {path: task["state"] for path, task in tasks.items()} == {
        "root#": "RUNNING",
        "root.done#": "SUCCEEDED",
        "root.bad#": "FAILED",
        "root.stopped#": "FAILED",
        "root.off#": "SKIPPED",
        "root.again#": "CACHED",
    }
    assert tasks["root.bad#"]["status_metadata"] == {"message": "no flights"}
    assert tasks["root.bad#"]["state_history"][-1]["error"]["message"] == "no flights"
    assert "status_metadata" not in tasks["root.off#"]
    assert tasks["root.again#"]["state_history"][-1]["state"] == "CACHED"


async def test_links_are_found_by_run_task_artifact_and_type(local: LocalApp, scribe: Scribe) -> None:
    await train(scribe)
    await scribe.create("use")
    await scribe.start(
        "use", artifacts={"given": (StoredArtifact(schema_title="system.Model", uri="", artifact_id=1),)}
    )
    tasks = await tasks_of(local, scribe.run_id)
    model = tasks["root.train#"]["outputs"]["artifacts"][0]["artifacts"][0]["artifact_id"]

    async def keys(**params: Any) -> list[tuple[str, str]]:
        found = await ask(local, "artifact_tasks", **params)
        return sorted((one["key"], one["type"]) for one in found.get("artifact_tasks", []))

    given, made = ("given", "TASK_OUTPUT_INPUT"), ("model", "OUTPUT")
    assert await keys(artifact_ids=model) == [given, made]
    assert await keys(run_ids=str(scribe.run_id), type="TASK_OUTPUT_INPUT") == [given]
    assert await keys(task_ids=[tasks["root.use#"]["task_id"]]) == [given]
    assert len(await keys(run_ids=[str(scribe.run_id), str(uuid4())])) == 6
    assert await keys(run_ids=str(uuid4())) == []
    (link,) = (await ask(local, "artifact_tasks", task_ids=tasks["root.use#"]["task_id"]))["artifact_tasks"]
    assert link["producer"] == {"task_name": "train"}
    status, message = await refused(local, "GET", "artifact_tasks")
    assert (status, "At least one filter" in message) == (400, True)
    assert (await refused(local, "GET", "artifact_tasks?run_ids=x&type=SIDEWAYS"))[0] == 400
    assert (await refused(local, "GET", f"artifact_tasks?task_ids={uuid4()}"))[0] == 404
    assert (await refused(local, "GET", f"artifact_tasks?artifact_ids={uuid4()}"))[0] == 404


async def test_every_list_pages_sorts_and_filters(local: LocalApp, scribe: Scribe) -> None:
    for name in ("a", "b", "c"):
        await train(scribe, name)
    for path, field, total in (
        (f"runs/{scribe.run_id}/tasks", "tasks", 4),
        ("artifacts", "artifacts", 15),
        (f"artifact_tasks?run_ids={scribe.run_id}", "artifact_tasks", 15),
    ):
        seen: list[str] = []
        token = ""
        while True:
            url = httpx.URL(f"{API}/{path}").copy_merge_params({"page_size": "4", "page_token": token})
            page = (await local.client.get(url)).json()
            assert page["total_size"] == total
            seen += [str(one) for one in page[field]]
            token = page.get("next_page_token", "")
            if not token:
                break
        assert len(seen) == len(set(seen)) == total
    newest = await ask(local, f"runs/{scribe.run_id}/tasks", order_by="name desc", page_size=1)
    assert newest["tasks"][0]["name"] == "c"
    wanted = '{"predicates":[{"operation":"EQUALS","key":"type","string_value":"Metric"}]}'
    assert (await ask(local, "artifacts", filter=wanted, page_size=1))["total_size"] == 12
    root = (await tasks_of(local, scribe.run_id))["root#"]["task_id"]
    children = await ask(local, f"runs/{scribe.run_id}/tasks", parent_id=root)
    assert {one["name"] for one in children["tasks"]} == {"a", "b", "c"}


async def test_callers_add_and_change_tasks_of_their_own(local: LocalApp, scribe: Scribe) -> None:
    path = f"runs/{scribe.run_id}/tasks"
    body = {
        "name": "outside",
        "state": "RUNNING",
        "type": "RUNTIME",
        "scope_path": "root.outside",
        "type_attributes": {"iteration_index": 0},
        "inputs": {"parameters": [{"parameter_key": "p", "value": [1, None]}]},
        "outputs": {"parameters": [{"parameter_key": "o", "value": "old"}]},
        "cache_fingerprint": "print",
    }
    made = await send(local, path, body)
    assert made["type_attributes"] == {"iteration_index": "0"}
    assert made["inputs"]["parameters"] == body["inputs"]["parameters"]
    assert (await send(local, path, body))["task_id"] == made["task_id"]
    other = await send(local, path, body | {"type_attributes": {"iteration_index": "1"}})
    assert other["task_id"] != made["task_id"]
    one = f"{path}/{made['task_id']}"
    change = {"state": "SUCCEEDED", "outputs": {"parameters": [{"parameter_key": "o", "value": "new"}]}}
    changed = await send(local, one, change, "PATCH")
    assert (changed["state"], changed["name"]) == ("SUCCEEDED", "outside")
    assert changed["outputs"]["parameters"] == [{"parameter_key": "o", "value": "new"}]
    assert [step["state"] for step in changed["state_history"]] == ["SUCCEEDED"]
    bulk = await send(local, f"{path}:batchUpdate", {"tasks": {made["task_id"]: {"display_name": "Out"}}})
    assert bulk["tasks"][made["task_id"]]["display_name"] == "Out"
    found = await send(local, "tasks:findCached", {"cache_fingerprint": "print"})
    assert found["task"]["task_id"] == made["task_id"]
    assert await send(local, "tasks:findCached", {"cache_fingerprint": "none such"}) == {}
    assert (await ask(local, f"runs/{scribe.run_id}"))["task_count"] == 3


async def test_callers_add_artifacts_and_links(local: LocalApp, scribe: Scribe) -> None:
    await train(scribe)
    task = (await tasks_of(local, scribe.run_id))["root.train#"]["task_id"]
    request = {
        "run_id": str(scribe.run_id),
        "task_id": task,
        "producer_key": "extra",
        "artifact": {"name": "extra", "type": "Dataset", "uri": "s3://bucket/x", "namespace": "n"},
    }
    made = await send(local, "artifacts", request)
    assert await ask(local, f"artifacts/{made['artifact_id']}") == made
    assert (made["name"], made["type"], made["uri"]) == ("extra", "Dataset", "s3://bucket/x")
    metric = {"name": "auc", "type": "Metric", "number_value": 0, "metadata": {"auc": 0}}
    both = await send(
        local,
        "artifacts:batchCreate",
        {"artifacts": [request | {"reuse_if_exists": True}, request | {"artifact": metric}]},
    )
    assert both["artifacts"][0]["artifact_id"] == made["artifact_id"]
    assert both["artifacts"][1]["number_value"] == 0
    link = {
        "artifact_id": made["artifact_id"],
        "run_id": str(scribe.run_id),
        "task_id": task,
        "type": "COMPONENT_INPUT",
        "producer": {"task_name": "elsewhere"},
        "key": "given",
    }
    linked = await send(local, "artifact_tasks", {"artifact_task": link})
    assert {name: linked[name] for name in link} == link
    await send(local, "artifact_tasks:batchCreate", {"artifact_tasks": [link | {"key": "twice"}]})
    shown = (await tasks_of(local, scribe.run_id))["root.train#"]
    assert {one["artifact_key"] for one in shown["inputs"]["artifacts"]} == {"given", "twice"}
    assert {one["artifact_key"] for one in shown["outputs"]["artifacts"]} == {"model", "scores", "extra"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("artifacts", {}, 400),
        ("artifacts", {"artifact": {"name": "x", "type": "Model"}, "run_id": "r"}, 400),
        ("artifacts", {"artifact": {"name": "x", "type": "Painting"}}, 400),
        ("artifacts:batchCreate", {}, 400),
        ("artifact_tasks", {}, 400),
        ("artifact_tasks", {"artifact_task": {"type": "OUTPUT"}}, 400),
        ("artifact_tasks:batchCreate", {"artifact_tasks": [{"run_id": "a"}, {"run_id": "b"}]}, 400),
        ("tasks:findCached", {}, 400),
        ("runs/{run}/tasks", {}, 400),
        ("runs/{run}/tasks", {"name": "x", "task_id": "mine"}, 400),
        ("runs/{run}/tasks", {"name": "x", "run_id": "other"}, 400),
        ("runs/{run}/tasks", {"name": "x", "state": "PENDING"}, 400),
        ("runs/{run}/tasks", {"name": "x", "type_attributes": {"iteration_index": "1.5"}}, 400),
        ("runs/{other}/tasks", {"name": "x"}, 404),
        ("runs/{run}/tasks:batchUpdate", {}, 400),
        ("runs/{run}/tasks:batchUpdate", {"tasks": {"none": {"state": "FAILED"}}}, 404),
    ],
)
async def test_what_kfp_refuses_is_refused(
    local: LocalApp, scribe: Scribe, path: str, body: Any, status: int
) -> None:
    path = path.format(run=scribe.run_id, other=uuid4())
    assert (await refused(local, "POST", path, body))[0] == status


async def test_the_backends_own_tasks_are_its_drivers(local: LocalApp, scribe: Scribe) -> None:
    root = (await tasks_of(local, scribe.run_id))["root#"]
    path = f"runs/{scribe.run_id}/tasks/{root['task_id']}"
    status, message = await refused(local, "PATCH", path, {"state": "FAILED"})
    assert (status, "driver" in message) == (400, True)
    assert (await refused(local, "PATCH", f"runs/{uuid4()}/tasks/{root['task_id']}", {}))[0] == 400


async def test_what_callers_added_goes_with_its_run(local: LocalApp, scribe: Scribe) -> None:
    made = await send(local, f"runs/{scribe.run_id}/tasks", {"name": "outside"})
    await local.backend.store.write(
        lambda connection: connection.execute("DELETE FROM runs WHERE run_id = ?", (str(scribe.run_id),))
    )
    assert (await refused(local, "GET", f"runs/{scribe.run_id}/tasks/{made['task_id']}"))[0] == 404
    assert (await ask(local, "artifact_tasks", run_ids=str(scribe.run_id))) == {}
