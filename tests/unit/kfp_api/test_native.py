"""What the reader of the native API makes of a run's tasks, artifacts and metrics."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from bridge.domain.lineage import ArtifactUse, Direction, RunError, RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.kfp_api import errors
from bridge.kfp_api.client import API, KfpClient
from bridge.kfp_api.metadata import MetadataReader
from bridge.kfp_api.native import NativeReader, serves_native
from tests.unit.kfp_api.fake_native import FakeNative, at, given, parameter

RUN = UUID("11111111-2222-3333-4444-555555555555")
TASKS = f"{API}/runs/{RUN}/tasks"


async def read(server: FakeNative) -> RunMirror:
    reader: MetadataReader = NativeReader(server.client())
    mirror = await reader.read_run(RUN, ())
    assert mirror is not None
    return mirror


def by_path(mirror: RunMirror) -> dict[str, Task]:
    return {task.path: task for task in mirror.tasks}


def uses(mirror: RunMirror, artifact_id: str) -> list[tuple[str, str, str, int]]:
    (found,) = [one for one in mirror.artifacts if one.backend_artifact_id == artifact_id]
    return sorted((use.task_path, use.key, str(use.direction), use.index) for use in found.uses)


@pytest.fixture
def server() -> FakeNative:
    made = FakeNative()
    made.task("r", kind="ROOT", name="ROOT")
    return made


# What there is


async def test_no_task_is_nothing_known_and_pages_are_followed(server: FakeNative) -> None:
    assert await NativeReader(FakeNative().client()).read_run(RUN, ()) is None
    for name in ("a", "b", "c", "d"):
        server.task(name, "r")
    assert list(by_path(await read(server))) == ["", "a", "b", "c", "d"]
    assert server.asked.count(TASKS) == 3


async def test_a_run_that_kfp_does_not_know_is_none_and_a_missing_route_an_error(server: FakeNative) -> None:
    server.replies[TASKS] = httpx.Response(404, json={"code": 5, "message": f"Run {RUN} not found"})
    assert await NativeReader(server.client()).read_run(RUN, ()) is None
    for body in ({"code": 5, "message": "Not Found"}, {"detail": "no such page"}):
        server.replies[TASKS] = httpx.Response(404, json=body)
        with pytest.raises(errors.KfpNotFound):
            await NativeReader(server.client()).read_run(RUN, ())


async def test_what_changed_cannot_be_asked(server: FakeNative) -> None:
    assert await NativeReader(server.client()).changed_since(0) is None
    assert server.asked == []


async def test_a_page_token_that_comes_again_ends_the_reading(server: FakeNative) -> None:
    server.replies[TASKS] = httpx.Response(200, json={"tasks": [], "next_page_token": "same"})
    with pytest.raises(errors.KfpBadAnswer, match="repeats a page token"):
        await NativeReader(server.client()).read_run(RUN, ())


async def test_rows_that_are_broken_do_not_hide_the_others(server: FakeNative) -> None:
    server.tasks += [{"task_id": "x", "create_time": "yesterday"}, "no task", {"name": "without an id"}]
    server.task("a", "r")
    mirror = await read(server)
    assert list(by_path(mirror)) == ["", "a"]
    assert len(mirror.warnings) == 3
    assert "create_time" in mirror.warnings[0]


# The tree of tasks


async def test_a_task_is_read_with_everything_it_says(server: FakeNative) -> None:
    server.task(
        "t",
        "r",
        state="FAILED",
        name="train",
        pods=[
            {"name": "driver", "type": "DRIVER"},
            {"name": "first", "type": "EXECUTOR"},
            {"name": "second", "type": "EXECUTOR"},
        ],
        state_history=[
            {"update_time": at(20), "state": "RUNNING"},
            {"update_time": at(30), "state": "FAILED", "error": {"code": 13, "message": "exit status 1"}},
        ],
        end_time=at(30),
        status_metadata={"message": "no flights on that day"},
        inputs=[parameter("epochs", 3, "COMPONENT_INPUT"), parameter("nothing", None), {"value": "no key"}],
        outputs=[parameter("best", [1, {"a": True}])],
    )
    task = by_path(await read(server))["train"]
    assert task == Task(
        task_id="t",
        name="train",
        path="train",
        parent_task_id="r",
        state=RuntimeState.FAILED,
        kind="container",
        pod_name="second",
        created_at=datetime(2026, 1, 2, 3, 4, 1, tzinfo=UTC),
        started_at=datetime(2026, 1, 2, 3, 4, 20, tzinfo=UTC),
        finished_at=datetime(2026, 1, 2, 3, 4, 30, tzinfo=UTC),
        error=RunError(message="no flights on that day", code="13", task="train"),
        inputs={"epochs": 3, "nothing": None},
        outputs={"best": [1, {"a": True}]},
    )


@pytest.mark.parametrize(
    ("told", "state", "cached"),
    [
        ("SUCCEEDED", RuntimeState.SUCCEEDED, False),
        ("SKIPPED", RuntimeState.SKIPPED, False),
        ("CACHED", RuntimeState.SKIPPED, True),
        ("RUNNING", RuntimeState.RUNNING, False),
        (None, RuntimeState.UNSPECIFIED, False),
        ("RUNTIME_STATE_UNSPECIFIED", RuntimeState.UNSPECIFIED, False),
        ("A_COMING_STATE", RuntimeState.UNKNOWN, False),
    ],
)
async def test_states(server: FakeNative, told: str | None, state: RuntimeState, cached: bool) -> None:
    server.task("a", "r", state=told or "", status_metadata={"message": "as told"})
    task = by_path(await read(server))["a"]
    assert (task.state, task.cached) == (state, cached)
    assert (task.finished_at is not None) is state.is_terminal


async def test_a_task_that_says_hardly_anything_is_a_task(server: FakeNative) -> None:
    server.tasks += [{"task_id": "bare"}, {"task_id": "lost", "parent_task_id": "gone", "type": "NEW"}]
    tasks = by_path(await read(server))
    assert tasks["bare"] == Task(
        task_id="bare", name="bare", path="bare", parent_task_id=None, state=RuntimeState.UNSPECIFIED
    )
    assert (tasks["lost"].parent_task_id, tasks["lost"].kind) == ("gone", None)


async def test_parents_come_first_whatever_the_order(server: FakeNative) -> None:
    server.task("leaf", "dag")
    server.task("dag", "r", "DAG")
    server.tasks.reverse()
    assert list(by_path(await read(server))) == ["", "dag", "dag.leaf"]


async def test_parents_that_lead_round_end_somewhere(server: FakeNative) -> None:
    server.task("a", "b", "DAG")
    server.task("b", "a", "DAG")
    server.task("self", "self")
    mirror = await read(server)
    assert {task.task_id for task in mirror.tasks} == {"r", "a", "b", "self"}


async def test_iterations_are_put_together_from_what_runs_in_them(server: FakeNative) -> None:
    results = [parameter("out", 10 * one, "ITERATOR_OUTPUT", one) for one in (1, 0)]
    server.task("loop", "r", "LOOP", name="for-loop-1", outputs=results, state="FAILED", end_time=at(59))
    server.task("t0", "loop", name="train", iteration=0)
    server.task("e0", "loop", name="evaluate", iteration=0)
    server.task("t1", "loop", "FAILED", name="train", iteration=1) | {}
    server.tasks[-1].update(type="RUNTIME", state="FAILED")
    server.task("inner", "loop", "LOOP", name="for-loop-2", iteration=1)
    server.task("x", "inner", name="x", iteration=0)
    server.task("c", "loop", "CONDITION_BRANCH", name="condition-3", iteration=0)
    server.task("y", "c", name="y")
    tasks = by_path(await read(server))
    assert set(tasks) == {
        "",
        "for-loop-1",
        "for-loop-1[0]",
        "for-loop-1[0].train",
        "for-loop-1[0].evaluate",
        "for-loop-1[0].condition-3",
        "for-loop-1[0].condition-3.y",
        "for-loop-1[1]",
        "for-loop-1[1].train",
        "for-loop-1[1].for-loop-2",
        "for-loop-1[1].for-loop-2[0]",
        "for-loop-1[1].for-loop-2[0].x",
    }
    assert tasks["for-loop-1"].outputs == {"out": [0, 10]}
    first, second = tasks["for-loop-1[0]"], tasks["for-loop-1[1]"]
    assert (first.task_id, first.parent_task_id, first.iteration, first.kind) == ("loop[0]", "loop", 0, "dag")
    assert (first.state, second.state) == (RuntimeState.SUCCEEDED, RuntimeState.FAILED)
    assert (first.outputs, second.outputs) == ({"out": 0}, {"out": 10})
    assert tasks["for-loop-1[0].train"].parent_task_id == "loop[0]"
    assert tasks["for-loop-1[0].train"].iteration is None
    assert first.created_at == tasks["for-loop-1[0].train"].created_at
    assert first.finished_at == tasks["for-loop-1[0].condition-3"].finished_at


async def test_an_iteration_goes_on_until_its_loop_has_ended(server: FakeNative) -> None:
    server.task("loop", "r", "LOOP", "RUNNING", name="for-loop-1")
    server.task("t", "loop", iteration=0)
    iteration = by_path(await read(server))["for-loop-1[0]"]
    assert (iteration.state, iteration.finished_at) == (RuntimeState.RUNNING, None)


async def test_a_loop_over_one_component_has_iterations_of_its_own(server: FakeNative) -> None:
    server.task("loop", "r", "LOOP", name="train", scope_path="root.train")
    server.task("t0", "loop", name="train", iteration=0, scope_path="root.train")
    server.task("t1", "loop", name="train", iteration=1, scope_path="root.train.train")
    tasks = by_path(await read(server))
    assert (tasks["train[0]"].kind, tasks["train[0]"].iteration) == ("container", 0)
    assert tasks["train[1].train"].task_id == "t1"


# Artifacts


async def test_artifacts_carry_their_uses(server: FakeNative) -> None:
    digest = "a" * 64
    model = server.artifact(
        "m", uri="s3://bucket/model", metadata={"sha256": digest, "layers": [8, 4], "display_name": "x"}
    )
    server.task("dag", "r", "DAG", gave=[given("models", model)])
    server.task("train", "dag", gave=[given("model", model)])
    server.task("use", "r", got=[given("one", model, kind="TASK_OUTPUT_INPUT")])
    mirror = await read(server)
    (artifact,) = mirror.artifacts
    assert (artifact.type, artifact.uri, artifact.name) == ("system.Model", "s3://bucket/model", "m")
    assert artifact.digest == digest
    assert artifact.metadata == {"sha256": digest, "layers": [8, 4]}
    # What the DAG gives is an output of the task inside it, as MLMD has it.
    assert uses(mirror, "m") == [("dag.train", "model", "OUTPUT", 0), ("use", "one", "INPUT", 0)]


async def test_a_list_is_in_the_order_of_its_iterations(server: FakeNative) -> None:
    found = [server.artifact(name) for name in ("z", "y", "x")]
    server.task(
        "use",
        "r",
        got=[
            given("all", found[0], kind="COLLECTED_INPUTS", iteration=1),
            given("all", found[1], kind="COLLECTED_INPUTS", iteration=0),
            given("all", found[2], kind="COLLECTED_INPUTS", iteration=1),
        ],
    )
    mirror = await read(server)
    indexes = {one.backend_artifact_id: one.uses[0].index for one in mirror.artifacts}
    assert indexes == {"y": 0, "z": 1, "x": 2}


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        ("Artifact", "system.Artifact"),
        ("Dataset", "system.Dataset"),
        ("HTML", "system.HTML"),
        ("Markdown", "system.Markdown"),
        ("SlicedClassificationMetric", "system.SlicedClassificationMetrics"),
        ("TYPE_OF_TOMORROW", "system.TYPE_OF_TOMORROW"),
        (None, "system.Artifact"),
    ],
)
async def test_types(server: FakeNative, kind: str | None, schema: str) -> None:
    artifact = server.artifact("a")
    artifact["type"] = kind
    server.task("t", "r", gave=[given("out", artifact)])
    assert [one.type for one in (await read(server)).artifacts] == [schema]


async def test_a_server_that_tells_artifacts_apart_from_tasks_is_asked_for_them() -> None:
    server = FakeNative(bare=True)
    server.task("r", kind="ROOT")
    server.task("train", "r")
    server.task("use", "r")
    server.artifact("m")
    server.artifact("auc", "Metric", number_value=0.5)
    for task, key, artifact, kind in (
        ("train", "model", "m", "OUTPUT"),
        ("train", "scores", "auc", "OUTPUT"),
        ("use", "one", "m", "TASK_OUTPUT_INPUT"),
        ("use", "gone", "deleted", "COMPONENT_INPUT"),
        ("elsewhere", "model", "m", "OUTPUT"),
    ):
        server.links.append({"task_id": task, "key": key, "artifact_id": artifact, "type": kind})
    server.links.append({"task_id": "use", "key": "without an artifact"})
    mirror = await read(server)
    assert uses(mirror, "m") == [("train", "model", "OUTPUT", 0), ("use", "one", "INPUT", 0)]
    assert uses(mirror, "deleted") == [("use", "gone", "INPUT", 0)]
    assert [(one.key, one.value) for one in mirror.metrics] == [("train.auc", 0.5)]
    assert server.asked.count(f"{API}/artifacts/m") == 1


# Metrics


async def test_scalar_metrics_are_gathered_by_task_and_key(server: FakeNative) -> None:
    auc = server.artifact("b-auc", "Metric", name="auc", number_value=0.75, metadata={"auc": 0.75})
    rows = server.artifact("a-rows", "Metric", name="rows", number_value=0)
    note = server.artifact("note", "Metric", metadata={"note": "fine"})
    other = server.artifact("other", "Metric", name="auc", number_value=0.5)
    server.task("evaluate", "r", gave=[given("train", auc, rows, note), given("test", other)])
    server.task("report", "r", got=[given("given", auc, rows, note, kind="TASK_OUTPUT_INPUT")])
    mirror = await read(server)
    assert {one.key: one.value for one in mirror.metrics} == {
        "evaluate.train.auc": 0.75,
        "evaluate.rows": 0.0,
        "evaluate.test.auc": 0.5,
    }
    assert [(one.name, one.kind, one.content) for one in mirror.blobs] == [("note", "text", "fine")]
    gathered = next(one for one in mirror.artifacts if one.backend_artifact_id == "a-rows")
    assert (gathered.type, gathered.name, gathered.uri) == ("system.Metrics", "train", None)
    assert gathered.metadata == {"auc": 0.75, "rows": 0.0, "note": "fine"}
    assert set(gathered.uses) == {
        ArtifactUse(task_id="evaluate", task_path="evaluate", key="train", direction=Direction.OUTPUT),
        ArtifactUse(task_id="report", task_path="report", key="given", direction=Direction.INPUT),
    }
    assert len(mirror.artifacts) == 2


async def test_numbers_that_are_not_finite_are_left_out_and_named(server: FakeNative) -> None:
    server.task(
        "evaluate",
        "r",
        gave=[
            given(
                "scores",
                server.artifact("a", "Metric", name="loss", metadata={"loss": "NaN"}),
                server.artifact("b", "Metric", name="best", number_value="Infinity"),
                server.artifact("c", "Metric", name="auc", number_value=0.5),
            )
        ],
    )
    mirror = await read(server)
    assert {one.key: one.value for one in mirror.metrics} == {"evaluate.auc": 0.5}
    assert mirror.blobs == ()
    assert mirror.warnings == (
        "evaluate.scores.loss is nan and was left out",
        "evaluate.scores.best is inf and was left out",
    )


async def test_classification_metrics_become_blobs(server: FakeNative) -> None:
    curve = [{"confidenceThreshold": 0.5, "recall": 1, "falsePositiveRate": 0}]
    roc = server.artifact("roc", "ClassificationMetric", metadata={"confidenceMetrics": curve})
    server.task("evaluate", "r", gave=[given("roc", roc)])
    assert [(one.task_path, one.name, one.kind, one.content) for one in (await read(server)).blobs] == [
        ("evaluate", "roc", "roc", curve)
    ]


async def test_a_task_that_was_made_anew_gives_the_metrics(server: FakeNative) -> None:
    for task_id, value in (("old", 0.1), ("new", 0.9)):
        metric = server.artifact(task_id, "Metric", name="auc", number_value=value)
        server.task(task_id, "r", name="evaluate", gave=[given("scores", metric)])
    assert [(one.key, one.value) for one in (await read(server)).metrics] == [("evaluate.auc", 0.9)]


async def test_texts_are_made_fit_for_a_database(server: FakeNative) -> None:
    server.task("t", "r", inputs=[parameter("text", "a\x00b" + "x" * 70_000)])
    mirror = await read(server)
    assert len(by_path(mirror)["t"].inputs["text"]) == 64 * 1024
    assert "\x00" not in by_path(mirror)["t"].inputs["text"]
    assert len(mirror.warnings) == 1


async def test_a_large_run_is_read_within_its_share_of_memory() -> None:
    """A run of 10,000 tasks has to stay within 200 MB; a tenth of it, in pages of 100, within a tenth."""

    def row(number: int) -> dict[str, Any]:
        def artifact(name: str, kind: str, **more: Any) -> dict[str, Any]:
            return {"artifact_id": f"{name}-{number}", "name": name, "type": kind, **more}

        scores = [artifact(one, "Metric", number_value=0.5, metadata={one: 0.5}) for one in ("auc", "rows")]
        return {
            "task_id": f"task-{number}",
            "name": f"train-{number}",
            "parent_task_id": "root",
            "type": "RUNTIME",
            "state": "SUCCEEDED",
            "create_time": at(number % 60),
            "inputs": {"parameters": [parameter("day", f"2013-01-{number}", "COMPONENT_INPUT")]},
            "outputs": {
                "artifacts": [
                    given("model", artifact("model", "Model", uri=f"s3://bucket/{number}")),
                    given("scores", *scores),
                ]
            },
        }

    async def handle(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("page_token", 0))
        body = {"tasks": [row(number) for number in range(start, start + 100)]}
        return httpx.Response(200, json=body | ({"next_page_token": str(start + 100)} if start < 900 else {}))

    client = KfpClient("http://kfp.example", transport=httpx.MockTransport(handle))
    tracemalloc.start()
    try:
        mirror = await NativeReader(client).read_run(RUN, ())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert mirror is not None
    assert (len(mirror.tasks), len(mirror.artifacts), len(mirror.metrics)) == (1_000, 2_000, 2_000)
    assert peak < 20 * 1024 * 1024


# Which API a server has


def answering(reply: Callable[[httpx.Request], httpx.Response]) -> KfpClient:
    return KfpClient("http://kfp.example", transport=httpx.MockTransport(reply))


@pytest.mark.parametrize(
    ("reply", "native"),
    [
        (httpx.Response(400, json={"code": 3, "message": "At least one filter is required"}), True),
        (httpx.Response(200, json={}), True),
        (httpx.Response(404, json={"code": 5, "message": "Not Found"}), False),
        (httpx.Response(404, text="404 page not found"), False),
        (httpx.Response(405, json={"code": 12, "message": "Method Not Allowed"}), False),
        (httpx.Response(501, json={"code": 12, "message": "Not Implemented"}), False),
        (httpx.Response(200, html="<html></html>"), False),
    ],
)
async def test_a_server_says_whether_it_has_the_native_api(reply: httpx.Response, native: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    assert await serves_native(answering(answer)) is native


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, errors.KfpAuthError), (403, errors.KfpAuthError), (429, errors.KfpRateLimited)]
    + [(status, errors.KfpServerError) for status in (500, 502, 503)],
)
async def test_other_answers_say_nothing(status: int, error: type[errors.KfpError]) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(status, json={"message": "no"})

    with pytest.raises(error):
        await serves_native(answering(answer))
    assert asked == [f"{API}/artifact_tasks"]


async def test_a_cut_answer_says_nothing() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=json.dumps({"artifact_tasks": []})[:-3])

    with pytest.raises(errors.KfpBadAnswer):
        await serves_native(answering(answer))
