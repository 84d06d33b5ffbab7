"""The reader of ML Metadata, against a metadata service in memory."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from bridge.domain.lineage import Artifact, ArtifactUse, Direction, MetricBlob, RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.kfp_api import errors, grpcweb
from bridge.kfp_api import metadata_pb2 as pb
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.messages import ChildTask, RuntimeStatus, Status, TaskDetail
from bridge.kfp_api.metadata import Changes, MetadataReader
from bridge.kfp_api.mlmd import MlmdReader
from tests.unit.kfp_api.fake_mlmd import T0, FakeMlmd

RUN = UUID("11111111-2222-3333-4444-555555555555")
OTHER = UUID("99999999-2222-3333-4444-555555555555")


async def read(mlmd: FakeMlmd, *details: TaskDetail) -> RunMirror:
    reader: MetadataReader = MlmdReader(mlmd.client())
    mirror = await reader.read_run(RUN, details)
    assert mirror is not None
    return mirror


def by_path(mirror: RunMirror) -> dict[str, Task]:
    return {task.path: task for task in mirror.tasks}


def root_of(mlmd: FakeMlmd, context: pb.Context, **more: Any) -> pb.Execution:
    return mlmd.execution(context, "dag", None, name=f"run/{context.name}", **more)


# What there is


async def test_no_context_is_not_the_same_as_nothing_done_yet() -> None:
    mlmd = FakeMlmd()
    assert await MlmdReader(mlmd.client()).read_run(RUN, ()) is None
    mlmd.run(RUN)
    assert await MlmdReader(mlmd.client()).read_run(RUN, ()) == RunMirror()


async def test_a_context_that_mlmd_calls_not_found_is_none_too() -> None:
    mlmd = FakeMlmd(refusals={"GetContextByTypeAndName": (grpcweb.NOT_FOUND, "no such type")})
    assert await MlmdReader(mlmd.client()).read_run(RUN, ()) is None


async def test_a_missing_route_is_an_error_and_not_an_expired_run() -> None:
    async def nothing_here(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"code": 5, "message": "Not Found"})

    client = KfpClient("http://kfp.example", transport=httpx.MockTransport(nothing_here))
    with pytest.raises(errors.KfpNotFound):
        await MlmdReader(client).read_run(RUN, ())


async def test_the_ui_page_of_a_host_without_metadata_is_named() -> None:
    async def page(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, html="<html></html>")

    client = KfpClient("http://kfp.example", transport=httpx.MockTransport(page))
    with pytest.raises(errors.KfpBadAnswer, match="no metadata service"):
        await MlmdReader(client).read_run(RUN, ())


async def test_the_metadata_host_may_be_another() -> None:
    asked: list[str] = []

    async def nothing(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, content=grpcweb.encode_response(b""))

    client = KfpClient("http://kfp.example", transport=httpx.MockTransport(nothing))
    assert await MlmdReader(client, base_url="https://meta.example/x/").read_run(RUN, ()) is None
    assert asked == ["https://meta.example/x/ml_metadata.MetadataStoreService/GetContextByTypeAndName"]


@pytest.mark.parametrize(
    "missing", [httpx.Response(404), httpx.Response(405), httpx.Response(200, html="<html></html>")]
)
async def test_a_gateway_that_has_metadata_beside_the_ui_is_found_once(missing: httpx.Response) -> None:
    asked: list[str] = []

    async def gateway(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.split("/")[1])
        if request.url.path.startswith("/pipeline/"):
            return httpx.Response(missing.status_code, headers=missing.headers, content=missing.content)
        return httpx.Response(200, content=grpcweb.encode_response(b""))

    client = KfpClient("https://kfp.example/pipeline", transport=httpx.MockTransport(gateway))
    reader = MlmdReader(client)
    assert await reader.read_run(RUN, ()) is None
    assert await reader.read_run(RUN, ()) is None
    assert asked == ["pipeline", "ml_metadata.MetadataStoreService", "ml_metadata.MetadataStoreService"]


async def test_a_gateway_that_fails_is_not_taken_for_one_without_metadata() -> None:
    asked: list[str] = []

    async def gateway(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(403, json={"message": "no"})

    client = KfpClient("https://kfp.example/pipeline", transport=httpx.MockTransport(gateway))
    with pytest.raises(errors.KfpAuthError):
        await MlmdReader(client).read_run(RUN, ())
    assert len(asked) == 1


async def test_frames_that_hold_no_message_are_a_bad_answer() -> None:
    async def noise(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=grpcweb.encode_response(b"\xff\xff\xff"))

    client = KfpClient("http://kfp.example", transport=httpx.MockTransport(noise))
    with pytest.raises(errors.KfpBadAnswer, match="no GetContextByTypeAndNameResponse"):
        await MlmdReader(client).read_run(RUN, ())


# The tree of tasks


async def test_paths_kinds_and_iterations() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run)
    mlmd.execution(run, "container", "validate", parent=root, pod_name="p-1")
    loop = mlmd.execution(run, "dag", "for-loop-1", parent=root, iteration_count=2)
    for index in range(2):
        item = mlmd.execution(run, "dag", "for-loop-1", parent=loop, iteration_index=index)
        mlmd.execution(run, "importer", "importer", parent=item)
    nested = mlmd.execution(run, "dag", "inner", parent=root)
    mlmd.execution(run, "container", "train", parent=nested)
    mirror = await read(mlmd)
    assert [(task.path, task.kind, task.iteration) for task in mirror.tasks] == [
        ("", "dag", None),
        ("validate", "container", None),
        ("for-loop-1", "dag", None),
        ("for-loop-1[0]", "dag", 0),
        ("for-loop-1[0].importer", "importer", None),
        ("for-loop-1[1]", "dag", 1),
        ("for-loop-1[1].importer", "importer", None),
        ("inner", "dag", None),
        ("inner.train", "container", None),
    ]
    tasks = by_path(mirror)
    assert tasks[""].name == "root"
    assert tasks[""].parent_task_id is None
    assert tasks["inner.train"].parent_task_id == tasks["inner"].task_id
    assert tasks["validate"].pod_name == "p-1"
    assert len({task.task_id for task in mirror.tasks}) == 9


async def test_a_loop_over_a_plain_component() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run)
    loop = mlmd.execution(run, "dag", "train", parent=root, iteration_count=1)
    mlmd.execution(run, "container", "train", parent=loop, iteration_index=0)
    assert list(by_path(await read(mlmd))) == ["", "train", "train[0]"]


async def test_types_are_asked_for_where_records_leave_them_out() -> None:
    mlmd = FakeMlmd(types_in_records=False)
    run = mlmd.run(RUN)
    root = root_of(mlmd, run)
    train = mlmd.execution(run, "container", "train", parent=root)
    mlmd.event(train, mlmd.artifact(run, "system.Model", "s3://b/m"), "model")
    mirror = await read(mlmd)
    assert [task.kind for task in mirror.tasks] == ["dag", "container"]
    assert mirror.artifacts[0].type == "system.Model"


async def test_a_parent_that_is_missing_or_itself_ends_no_reading() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    stray = mlmd.execution(run, "container", "stray", parent=pb.Execution(id=999))
    stray_two = mlmd.execution(run, "container", "loop", parent=pb.Execution(id=2))
    assert (stray.id, stray_two.id) == (1, 2)
    a = mlmd.execution(run, "dag", "a", parent=pb.Execution(id=4))
    mlmd.execution(run, "dag", "b", parent=a)
    mirror = await read(mlmd)
    assert [task.path for task in mirror.tasks][:2] == ["stray", "loop"]
    assert len(mirror.tasks) == 4


STATES = [
    (pb.Execution.NEW, RuntimeState.PENDING, False),
    (pb.Execution.RUNNING, RuntimeState.RUNNING, False),
    (pb.Execution.COMPLETE, RuntimeState.SUCCEEDED, False),
    (pb.Execution.FAILED, RuntimeState.FAILED, False),
    (pb.Execution.CACHED, RuntimeState.SKIPPED, True),
    (pb.Execution.CANCELED, RuntimeState.SKIPPED, False),
    (pb.Execution.UNKNOWN, RuntimeState.UNSPECIFIED, False),
]


@pytest.mark.parametrize(("recorded", "state", "cached"), STATES)
async def test_states_without_rest_details(recorded: int, state: RuntimeState, cached: bool) -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    mlmd.execution(run, "container", "t", parent=root_of(mlmd, run), state=recorded)
    task = by_path(await read(mlmd))["t"]
    assert (task.state, task.cached) == (state, cached)
    assert task.created_at == datetime.fromtimestamp((T0 + 2000) / 1000, UTC)
    assert (task.finished_at is not None) is state.is_terminal


@pytest.mark.parametrize(
    ("recorded", "told", "state"),
    [
        (pb.Execution.RUNNING, "FAILED", RuntimeState.FAILED),
        (pb.Execution.RUNNING, "CANCELED", RuntimeState.CANCELED),
        (pb.Execution.RUNNING, "SUCCEEDED", RuntimeState.SUCCEEDED),
        (pb.Execution.NEW, "RUNNING", RuntimeState.RUNNING),
        (pb.Execution.COMPLETE, "RUNNING", RuntimeState.SUCCEEDED),
        (pb.Execution.COMPLETE, "PENDING", RuntimeState.SUCCEEDED),
        (pb.Execution.COMPLETE, "FAILED", RuntimeState.FAILED),
        (pb.Execution.CACHED, "SUCCEEDED", RuntimeState.SKIPPED),
        (pb.Execution.CANCELED, "SKIPPED", RuntimeState.SKIPPED),
        (pb.Execution.RUNNING, None, RuntimeState.RUNNING),
        (pb.Execution.FAILED, "DREAMING", RuntimeState.FAILED),
    ],
)
async def test_rest_states_are_combined(recorded: int, told: str | None, state: RuntimeState) -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    made = mlmd.execution(run, "container", "t", parent=root_of(mlmd, run), state=recorded)
    detail = TaskDetail(task_id="x", execution_id=str(made.id), state=told)
    assert by_path(await read(mlmd, detail))["t"].state is state


async def test_details_are_matched_by_execution_then_pod_then_name() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run, state=pb.Execution.RUNNING)
    running = {"parent": root, "state": pb.Execution.RUNNING}
    first = mlmd.execution(run, "container", "first", **running)
    mlmd.execution(run, "container", "second", pod_name="pod-2", **running)
    mlmd.execution(run, "container", "third", pod_name="pod-3", **running)
    mlmd.execution(run, "container", "fourth", **running)
    mirror = await read(
        mlmd,
        TaskDetail(task_id="r", display_name="root", state="FAILED"),
        TaskDetail(task_id="a", display_name="whatever", execution_id=str(first.id), state="SUCCEEDED"),
        TaskDetail(task_id="b", display_name="executor", pod_name="pod-2", state="FAILED"),
        TaskDetail(
            task_id="c", display_name="3", child_tasks=[ChildTask(pod_name="pod-3")], state="CANCELED"
        ),
        TaskDetail(task_id="d", display_name="fourth", state="SKIPPED"),
    )
    assert {task.path: task.state.value for task in mirror.tasks} == {
        "": "FAILED",
        "first": "SUCCEEDED",
        "second": "FAILED",
        "third": "CANCELED",
        "fourth": "SKIPPED",
    }


async def test_a_name_that_is_not_unique_matches_nothing() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run)
    for outer in ("a", "b"):
        dag = mlmd.execution(run, "dag", outer, parent=root)
        mlmd.execution(run, "container", "train", parent=dag, state=pb.Execution.RUNNING)
    mirror = await read(mlmd, TaskDetail(task_id="x", display_name="train", state="SUCCEEDED"))
    tasks = by_path(mirror)
    assert [tasks[path].state for path in ("a.train", "b.train")] == [RuntimeState.RUNNING] * 2


async def test_the_error_comes_from_the_details() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run)
    train = mlmd.execution(run, "container", "train", parent=root, state=pb.Execution.FAILED)
    other = mlmd.execution(run, "container", "other", parent=root, state=pb.Execution.FAILED)
    mirror = await read(
        mlmd,
        TaskDetail(execution_id=str(train.id), state="FAILED", error=Status(code=13, message="exit 1\x00")),
        TaskDetail(
            execution_id=str(other.id),
            state="FAILED",
            state_history=[RuntimeStatus(state="FAILED", error=Status(message="from history"))],
        ),
    )
    tasks = by_path(mirror)
    error = tasks["train"].error
    assert error is not None
    assert (error.message, error.code, error.task) == ("exit 1\ufffd", "13", "train")
    assert tasks["other"].error is not None
    assert tasks["other"].error.message == "from history"
    assert tasks[""].error is None


async def test_a_task_that_failed_before_it_had_an_execution_is_there() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run, state=pb.Execution.RUNNING)
    train = mlmd.execution(run, "container", "train", parent=root, state=pb.Execution.FAILED)
    mirror = await read(
        mlmd,
        TaskDetail(task_id="r", display_name="root", state="FAILED"),
        TaskDetail(task_id="t", execution_id=str(train.id), state="FAILED", parent_task_id="r"),
        TaskDetail(task_id="t-pod", display_name="executor", state="FAILED", parent_task_id="t"),
        TaskDetail(
            task_id="d",
            display_name="evaluate-driver",
            state="FAILED",
            parent_task_id="r",
            error=Status(message="no such input"),
        ),
        TaskDetail(task_id="d-child", display_name="d-child", state="FAILED", parent_task_id="d"),
        TaskDetail(task_id="w", display_name="waiting", state="PENDING", parent_task_id="r"),
    )
    assert [task.path for task in mirror.tasks] == ["", "train", "evaluate-driver"]
    alone = mirror.tasks[-1]
    assert (alone.task_id, alone.state, alone.execution_id) == ("rest:d", RuntimeState.FAILED, None)
    assert alone.error is not None
    assert alone.error.message == "no such input"


async def test_parameters() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root_of(mlmd, run, inputs={"epochs": 3.0, "deep": {"list": [1, None, True, "x"]}}, outputs={"auc": 0.7})
    root = by_path(await read(mlmd))[""]
    assert root.inputs == {"epochs": 3.0, "deep": {"list": [1.0, None, True, "x"]}}
    assert root.outputs == {"auc": 0.7}


async def test_times_come_from_the_details_where_they_have_them() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    made = root_of(mlmd, run)
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    detail = TaskDetail(execution_id=str(made.id), create_time=epoch, start_time=start, end_time=end)
    task = by_path(await read(mlmd, detail))[""]
    assert (task.started_at, task.finished_at) == (start, end)
    assert task.created_at == datetime.fromtimestamp((T0 + 1000) / 1000, UTC)


# Artifacts


async def test_artifacts_and_their_uses() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run)
    features = mlmd.execution(run, "container", "features", parent=root)
    train = mlmd.execution(run, "container", "train", parent=root)
    digest = "ab" * 32
    table = mlmd.artifact(
        run, "system.Dataset", "s3://b/t", "table", rows=5.0, sha256=digest, store_session_info="{}"
    )
    mlmd.event(features, table, "table")
    mlmd.event(train, table, "rows", pb.Event.INPUT)
    mlmd.event(train, table, "rows", pb.Event.INTERNAL_INPUT)
    assert (await read(mlmd)).artifacts == (
        Artifact(
            backend_artifact_id=str(table.id),
            type="system.Dataset",
            uri="s3://b/t",
            name="table",
            digest=digest,
            metadata={"rows": 5.0, "sha256": digest},
            created_at=datetime.fromtimestamp(T0 / 1000, UTC),
            uses=(
                ArtifactUse(task_id="2", task_path="features", key="table", direction=Direction.OUTPUT),
                ArtifactUse(task_id="3", task_path="train", key="rows", direction=Direction.INPUT),
            ),
        ),
    )


async def test_lists_of_artifacts_are_counted_with_or_without_an_index() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run)
    join = mlmd.execution(run, "container", "join", parent=root)
    for number in range(3):
        mlmd.event(join, mlmd.artifact(run, "system.Dataset", f"s3://b/{number}"), "parts", pb.Event.INPUT)
    for number in (2, 0):
        artifact = mlmd.artifact(run, "system.Dataset", f"s3://c/{number}")
        mlmd.event(join, artifact, "indexed", pb.Event.DECLARED_INPUT, index=number)
    uses = {artifact.uri: artifact.uses[0] for artifact in (await read(mlmd)).artifacts}
    assert [uses[f"s3://b/{number}"].index for number in range(3)] == [0, 1, 2]
    assert [uses[f"s3://c/{number}"].index for number in (2, 0)] == [2, 0]
    assert {use.direction for use in uses.values()} == {Direction.INPUT}


async def test_a_cached_artifact_of_another_run_is_read_too() -> None:
    mlmd = FakeMlmd()
    other, run = mlmd.run(OTHER), mlmd.run(RUN)
    model = mlmd.artifact(other, "system.Model", "s3://b/m", "model")
    root = root_of(mlmd, run)
    train = mlmd.execution(
        run, "container", "train", parent=root, state=pb.Execution.CACHED, cached_execution_id="77"
    )
    mlmd.event(train, model, "model")
    mirror = await read(mlmd)
    assert [artifact.uri for artifact in mirror.artifacts] == ["s3://b/m"]
    assert by_path(mirror)["train"].cached


async def test_everything_is_read_over_many_pages() -> None:
    mlmd = FakeMlmd(page_size=7)
    run = mlmd.run(RUN)
    root = root_of(mlmd, run)
    for number in range(450):
        task = mlmd.execution(run, "container", f"t{number}", parent=root)
        mlmd.event(task, mlmd.artifact(run, "system.Artifact", f"s3://b/{number}"), "out")
    mirror = await read(mlmd)
    assert (len(mirror.tasks), len(mirror.artifacts)) == (451, 450)
    assert mlmd.calls.count("GetEventsByExecutionIDs") == 3


# Metrics


async def metrics_of(kind: str, **properties: Any) -> RunMirror:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    evaluate = mlmd.execution(run, "container", "evaluate", parent=root_of(mlmd, run))
    mlmd.event(evaluate, mlmd.artifact(run, kind, "s3://b/x", "metrics", **properties), "metrics")
    return await read(mlmd)


async def test_scalars() -> None:
    mirror = await metrics_of("system.Metrics", auc=0.75, rows=3, good=True, store_session_info="{}")
    assert {metric.key: metric.value for metric in mirror.metrics} == {
        "evaluate.auc": 0.75,
        "evaluate.rows": 3.0,
        "evaluate.good": 1.0,
    }
    assert mirror.blobs == ()
    assert mirror.warnings == ()


async def test_numbers_that_are_not_finite_are_left_out_and_named() -> None:
    mirror = await metrics_of("system.Metrics", auc=float("nan"), loss=float("inf"), fine=1.0)
    assert [metric.name for metric in mirror.metrics] == ["fine"]
    assert mirror.artifacts[0].metadata == {"auc": None, "loss": None, "fine": 1.0}
    assert mirror.warnings == (
        "evaluate.metrics.auc is nan and was left out",
        "evaluate.metrics.loss is inf and was left out",
    )


async def test_texts_and_objects_are_blobs() -> None:
    mirror = await metrics_of("system.Metrics", best="xgboost", table={"a": 1.0})
    assert mirror.metrics == ()
    assert mirror.blobs == (
        MetricBlob(task_path="evaluate", name="best", kind="text", content="xgboost"),
        MetricBlob(task_path="evaluate", name="table", kind="text", content={"a": 1.0}),
    )


async def test_classification_metrics() -> None:
    curve = [{"confidenceThreshold": 0.5, "falsePositiveRate": 0.1, "recall": 0.9}]
    matrix = {"annotationSpecs": [{"displayName": "late"}], "rows": [{"row": [3.0]}]}
    mirror = await metrics_of("system.ClassificationMetrics", confidenceMetrics=curve, confusionMatrix=matrix)
    assert {blob.kind: (blob.name, blob.content) for blob in mirror.blobs} == {
        "roc": ("metrics", curve),
        "confusion_matrix": ("metrics", matrix),
    }
    assert mirror.metrics == ()


async def test_two_artifacts_with_the_same_metric_are_told_apart() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    evaluate = mlmd.execution(run, "container", "evaluate", parent=root_of(mlmd, run))
    for key, auc in (("train_set", 0.9), ("test_set", 0.7)):
        mlmd.event(evaluate, mlmd.artifact(run, "system.Metrics", auc=auc, **{f"only_{key}": 1.0}), key)
    mirror = await read(mlmd)
    assert {metric.key: metric.value for metric in mirror.metrics} == {
        "evaluate.train_set.auc": 0.9,
        "evaluate.only_train_set": 1.0,
        "evaluate.test_set.auc": 0.7,
        "evaluate.only_test_set": 1.0,
    }


async def test_metrics_are_those_of_a_tasks_last_life_and_not_of_dags() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run)
    for auc in (0.1, 0.8):
        evaluate = mlmd.execution(run, "container", "evaluate", parent=root)
        artifact = mlmd.artifact(run, "system.Metrics", auc=auc)
        mlmd.event(evaluate, artifact, "metrics")
        mlmd.event(root, artifact, "metrics")
        mlmd.event(evaluate, artifact, "metrics", pb.Event.INPUT)
    mirror = await read(mlmd)
    assert [(metric.key, metric.value) for metric in mirror.metrics] == [("evaluate.auc", 0.8)]
    assert [task.path for task in mirror.tasks] == ["", "evaluate", "evaluate"]


async def test_what_a_database_would_refuse_is_cleaned() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run, inputs={"a\x00b": "c\x00d", "long": "x" * 100_000, "not": float("nan")})
    mlmd.event(root, mlmd.artifact(run, "system.Artifact", "s3://b/\x00", "n\x00"), "k\x00")
    mirror = await read(mlmd)
    assert "\x00" not in repr(mirror)
    inputs = mirror.tasks[0].inputs
    assert len(inputs["long"]) == 64 * 1024
    assert inputs["not"] is None
    assert len(mirror.warnings) == 2


# What changed


async def test_changes_name_the_runs_and_the_newest_change() -> None:
    mlmd = FakeMlmd()
    run, other, quiet = mlmd.run(RUN), mlmd.run(OTHER), mlmd.run("not-a-uuid")
    for number in range(5):
        mlmd.execution(run, "container", f"t{number}", changed_ms=T0 + number)
    mlmd.execution(other, "container", "old", changed_ms=T0 - 1)
    mlmd.execution(quiet, "container", "foreign", changed_ms=T0 + 50)
    reader: MetadataReader = MlmdReader(mlmd.client())
    assert await reader.changed_since(T0) == Changes(frozenset({RUN}), T0 + 50)
    assert await reader.changed_since(T0 - 1) == Changes(frozenset({RUN, OTHER}), T0 + 50)
    assert await reader.changed_since(T0 + 99) == Changes(frozenset(), T0 + 99)


async def test_which_run_an_execution_belongs_to_is_asked_once_per_dag() -> None:
    mlmd = FakeMlmd(page_size=100)
    run = mlmd.run(RUN)
    root = root_of(mlmd, run, changed_ms=T0 + 1000)
    loop = mlmd.execution(run, "dag", "loop", parent=root, changed_ms=T0 + 999)
    for number in range(50):
        mlmd.execution(run, "container", f"t{number}", parent=loop, changed_ms=T0 + number)
    reader = MlmdReader(mlmd.client())
    assert await reader.changed_since(T0) == Changes(frozenset({RUN}), T0 + 1000)
    assert await reader.changed_since(T0) == Changes(frozenset({RUN}), T0 + 1000)
    assert mlmd.calls.count("GetContextsByExecution") == 2


@pytest.mark.parametrize("code", [grpcweb.UNIMPLEMENTED, grpcweb.INVALID_ARGUMENT])
async def test_a_server_that_cannot_filter_says_none(code: int) -> None:
    mlmd = FakeMlmd(refusals={"GetExecutions": (code, "no filter_query")})
    assert await MlmdReader(mlmd.client()).changed_since(T0) is None


async def test_other_failures_are_errors() -> None:
    mlmd = FakeMlmd(refusals={"GetExecutions": (grpcweb.UNAVAILABLE, "restarting")})
    with pytest.raises(errors.KfpServerError, match="restarting"):
        await MlmdReader(mlmd.client()).changed_since(T0)
    assert mlmd.calls == ["GetExecutions"] * 2


async def test_a_page_token_that_repeats_ends_the_reading() -> None:
    async def always_more(request: httpx.Request) -> httpx.Response:
        page = pb.GetExecutionsResponse(next_page_token="again")
        return httpx.Response(200, content=grpcweb.encode_response(page.SerializeToString()))

    client = KfpClient("http://kfp.example", transport=httpx.MockTransport(always_more))
    with pytest.raises(errors.KfpBadAnswer, match="repeats"):
        await MlmdReader(client).changed_since(T0)


async def test_the_order_of_records_does_not_matter() -> None:
    mlmd = FakeMlmd()
    run = mlmd.run(RUN)
    root = root_of(mlmd, run)
    for number in range(12):
        task = mlmd.execution(run, "container", f"t{number}", parent=root)
        mlmd.event(task, mlmd.artifact(run, "system.Metrics", auc=number / 10), "metrics")
    first = await read(mlmd)
    shuffled = random.Random(7)
    for _ in range(5):
        shuffled.shuffle(mlmd.events)
        again = await read(mlmd)
        assert again == first
