"""What the store makes of the driver's words: the API's task details and MLMD's records, read back by the
bridge's own reader."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from bridge.domain.lineage import Direction, RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.mlmd import MlmdReader
from bridge.local import store_runs, store_tasks
from bridge.local.recording import (
    StoredArtifact,
    TaskCreated,
    TaskFinished,
    TaskResult,
    TaskStarted,
    task_id_of,
)
from bridge.local.store_runs import NewRun
from bridge.local.store_tasks import StoreRecorder
from tests.support.local_app import LocalApp, local_app

NOON = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
METRICS = StoredArtifact(
    schema_title="system.Metrics",
    uri="file:///data/metrics",
    metadata={"auc": 0.75, "rows": 1000, "good": True, "note": "fine", "nothing": None},
)
MODEL = StoredArtifact(schema_title="system.Model", uri="file:///data/model", metadata={"layers": [8, 4]})


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalApp]:
    async with local_app(tmp_path) as started:
        yield started


class Scribe:
    """Tells the recorder of one run's tasks, as a driver would."""

    def __init__(self, local: LocalApp, run_id: UUID) -> None:
        self.local = local
        self.run_id = run_id
        self.recorder = StoreRecorder(local.backend.store)

    async def begin(self) -> None:
        new = NewRun(
            run_id=str(self.run_id),
            display_name="r",
            spec_text="{}",
            pipeline_name="flow",
            parameters={},
            inline=True,
        )
        await self.local.backend.store.write(lambda connection: store_runs.add_run(connection, new))
        await self.create("", kind="dag")
        await self.start("")

    async def create(self, path: str, kind: str = "container", **more: Any) -> None:
        parent, _, name = path.rpartition(".")
        created = TaskCreated(
            kfp_run_id=self.run_id,
            task_id=task_id_of(self.run_id, path),
            parent_task_id=task_id_of(self.run_id, parent) if path else None,
            name=name,
            display_name=name,
            path=path,
            kind=kind,  # type: ignore[arg-type]
            created_at=NOON,
            **more,
        )
        await self.recorder.task_created(created)

    async def start(self, path: str, **more: Any) -> None:
        await self.recorder.task_started(
            TaskStarted(
                kfp_run_id=self.run_id,
                task_id=task_id_of(self.run_id, path),
                attempt=0,
                started_at=NOON + timedelta(seconds=1),
                **more,
            )
        )

    async def finish(self, path: str, state: RuntimeState = RuntimeState.SUCCEEDED, **more: Any) -> Any:
        return await self.recorder.task_finished(
            TaskFinished(
                kfp_run_id=self.run_id,
                task_id=task_id_of(self.run_id, path),
                state=state,
                finished_at=NOON + timedelta(seconds=2.5),
                **more,
            )
        )

    async def mirror(self) -> RunMirror:
        async with KfpClient("http://local", transport=self.local.client._transport) as client:
            run = await client.get_run(self.run_id)
            assert run.run_details is not None
            mirror = await MlmdReader(client).read_run(self.run_id, run.run_details.task_details)
        assert mirror is not None
        return mirror


@pytest.fixture
async def scribe(local: LocalApp) -> Scribe:
    made = Scribe(local, uuid4())
    await made.begin()
    return made


def by_path(mirror: RunMirror) -> dict[str, Task]:
    return {task.path: task for task in mirror.tasks}


async def test_a_run_is_read_back_as_it_was_told(scribe: Scribe) -> None:
    await scribe.create("train")
    await scribe.start("train", pod_name="pod-1", parameters={"epochs": 3, "rate": 0.5, "names": ["a"]})
    ids = await scribe.finish(
        "train", result=TaskResult(parameters={"best": 2}, artifacts={"model": (MODEL,)})
    )
    stored = StoredArtifact(schema_title="system.Model", uri=MODEL.uri, artifact_id=ids["model"][0])
    await scribe.create("evaluate")
    await scribe.start("evaluate", pod_name="pod-2", artifacts={"model": (stored,)})
    await scribe.finish("evaluate", result=TaskResult(artifacts={"metrics": (METRICS,)}))
    await scribe.finish("", result=TaskResult(parameters={"best": 2}, artifacts={"model": (stored,)}))

    mirror = await scribe.mirror()
    tasks = by_path(mirror)
    assert [(path, task.kind, task.state) for path, task in tasks.items()] == [
        ("", "dag", RuntimeState.SUCCEEDED),
        ("train", "container", RuntimeState.SUCCEEDED),
        ("evaluate", "container", RuntimeState.SUCCEEDED),
    ]
    assert tasks["train"].inputs == {"epochs": 3, "rate": 0.5, "names": ["a"]}
    assert tasks["train"].outputs == tasks[""].outputs == {"best": 2}
    assert tasks["train"].pod_name == "pod-1"
    assert tasks["train"].started_at == NOON + timedelta(seconds=1)
    assert tasks["train"].finished_at == NOON + timedelta(seconds=2.5)

    model = next(one for one in mirror.artifacts if one.type == "system.Model")
    assert model.uri == "file:///data/model"
    assert model.metadata == {"layers": [8, 4]}
    assert [(use.task_path, use.key, use.direction) for use in model.uses] == [
        ("train", "model", Direction.OUTPUT),
        ("evaluate", "model", Direction.INPUT),
    ]
    assert {(metric.key, metric.value) for metric in mirror.metrics} == {
        ("evaluate.auc", 0.75),
        ("evaluate.rows", 1000.0),
        ("evaluate.good", 1.0),
    }


async def test_what_a_task_goes_without_stands_beside_its_state_and_what_it_asks_for_in_its_execution(
    scribe: Scribe,
) -> None:
    asked = {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "gpu"}]}
    notes = ["Not honoured: nodeSelector.", "Not honoured: tolerations."]
    await scribe.create("train")
    await scribe.start("train", pod_name="pod-1", platform=asked, notes=notes)
    answer = (await scribe.local.client.get(f"/apis/v2beta1/runs/{scribe.run_id}")).json()
    (train,) = [task for task in answer["run_details"]["task_details"] if task["display_name"] == "train"]
    assert "error" not in train
    assert train["state_history"][-1]["state"] == "RUNNING"
    assert train["state_history"][-1]["error"] == {"code": 12, "message": " ".join(notes)}
    properties = await scribe.local.backend.store.read(
        lambda connection: connection.execute(
            "SELECT custom_properties FROM mlmd_executions WHERE id = ?", (train["execution_id"],)
        ).fetchone()[0]
    )
    assert json.loads(properties)["platform"] == asked
    # The bridge's own reader takes such an execution as any other.
    assert by_path(await scribe.mirror())["train"].state is RuntimeState.RUNNING


async def test_loops_and_conditions_have_their_place_in_the_tree(scribe: Scribe) -> None:
    await scribe.create("loop", kind="dag", iteration_count=2)
    await scribe.start("loop", iteration_count=2)
    for index in (0, 1):
        parent = task_id_of(scribe.run_id, "loop")
        await scribe.recorder.task_created(
            TaskCreated(
                kfp_run_id=scribe.run_id,
                task_id=task_id_of(scribe.run_id, f"loop[{index}]"),
                parent_task_id=parent,
                name="loop",
                display_name="loop",
                path=f"loop[{index}]",
                kind="dag",
                created_at=NOON,
                iteration=index,
            )
        )
        await scribe.create(f"loop[{index}].work")
    await scribe.finish("loop[0].work", RuntimeState.SKIPPED, message="its condition is false")
    tasks = by_path(await scribe.mirror())
    assert set(tasks) == {"", "loop", "loop[0]", "loop[1]", "loop[0].work", "loop[1].work"}
    assert tasks["loop[1]"].iteration == 1
    assert tasks["loop[0].work"].state is RuntimeState.SKIPPED
    assert tasks["loop[1].work"].state is RuntimeState.PENDING


async def test_a_failure_is_told_with_its_sentence(scribe: Scribe) -> None:
    await scribe.create("train")
    await scribe.start("train", pod_name="pod-1")
    await scribe.finish("train", RuntimeState.FAILED, message="exit code 3", exit_code=3)
    train = by_path(await scribe.mirror())["train"]
    assert train.state is RuntimeState.FAILED
    assert train.error is not None
    assert train.error.message == "exit code 3"


async def test_a_cached_task_points_to_where_its_result_is_from(local: LocalApp, scribe: Scribe) -> None:
    await scribe.create("train")
    await scribe.start("train", pod_name="pod-1")
    ids = await scribe.finish(
        "train", fingerprint="f1", result=TaskResult(parameters={"n": 1}, artifacts={"model": (MODEL,)})
    )
    again = Scribe(local, uuid4())
    await again.begin()
    cached = await again.recorder.find_cached("f1")
    assert cached is not None
    assert cached.result.parameters == {"n": 1}
    assert cached.result.artifacts["model"][0].artifact_id == ids["model"][0]
    assert cached.result.artifacts["model"][0].metadata == {"layers": [8, 4]}
    await again.create("train")
    linked = await again.finish(
        "train", RuntimeState.SKIPPED, result=cached.result, cached_task_id=cached.task_id, fingerprint="f1"
    )
    assert linked == ids
    mirror = await again.mirror()
    assert by_path(mirror)["train"].cached
    assert [artifact.backend_artifact_id for artifact in mirror.artifacts] == [str(ids["model"][0])]
    assert await again.recorder.find_cached("f2") is None


async def test_a_retried_task_comes_again_as_new(scribe: Scribe) -> None:
    await scribe.create("train")
    await scribe.start("train", pod_name="pod-1", parameters={"x": 1})
    await scribe.finish(
        "train", RuntimeState.FAILED, message="no", result=TaskResult(artifacts={"m": (MODEL,)})
    )
    first = by_path(await scribe.mirror())["train"]
    await scribe.create("train")
    await scribe.start("train", pod_name="pod-2")
    await scribe.finish("train", result=TaskResult(artifacts={"m": (METRICS,)}))
    mirror = await scribe.mirror()
    second = by_path(mirror)["train"]
    assert (second.task_id, second.execution_id) == (first.task_id, first.execution_id)
    assert (second.state, second.error, second.inputs, second.pod_name) == (
        RuntimeState.SUCCEEDED,
        None,
        {},
        "pod-2",
    )
    assert [artifact.type for artifact in mirror.artifacts] == ["system.Metrics"]


async def test_what_a_retried_run_need_not_do_again(scribe: Scribe) -> None:
    await scribe.create("a")
    await scribe.finish("a", result=TaskResult(parameters={"n": 1, "f": 1.0}, artifacts={"m": (MODEL,)}))
    await scribe.create("b")
    await scribe.finish("b", RuntimeState.FAILED, message="no")
    await scribe.create("c")
    await scribe.finish("c", RuntimeState.SKIPPED, message="b failed")
    results = await scribe.local.backend.store.read(
        lambda connection: store_tasks.finished_results(connection, str(scribe.run_id))
    )
    assert set(results) == {"a"}
    assert [type(value) for value in results["a"].parameters.values()] == [int, float]
    assert results["a"].artifacts["m"][0].uri == MODEL.uri


async def test_an_importer_finds_what_is_the_same(scribe: Scribe) -> None:
    await scribe.create("load", kind="importer")
    ids = await scribe.finish("load", result=TaskResult(artifacts={"artifact": (MODEL,)}))
    found = scribe.recorder.find_artifact
    assert await found(MODEL) == ids["artifact"][0]
    assert await found(StoredArtifact(schema_title="system.Model", uri=MODEL.uri, metadata={})) is None
    assert (
        await found(StoredArtifact(schema_title="system.Dataset", uri=MODEL.uri, metadata=MODEL.metadata))
        is None
    )


async def test_only_changed_runs_are_named_since_a_watermark(local: LocalApp, scribe: Scribe) -> None:
    async with KfpClient("http://local", transport=local.client._transport) as client:
        reader = MlmdReader(client)
        first = await reader.changed_since(0)
        assert first is not None
        assert first.kfp_run_ids == {scribe.run_id}
        assert await reader.read_run(uuid4(), []) is None
        later = await reader.changed_since(first.newest_ms + 1)
        assert later is not None
        assert later.kfp_run_ids == frozenset()


async def test_a_task_that_was_never_created_is_an_error(scribe: Scribe) -> None:
    with pytest.raises(LookupError, match="never said to be created"):
        await scribe.start("ghost")


async def test_the_end_of_a_task_whose_creation_a_cancel_cut_off_is_ignored(scribe: Scribe) -> None:
    assert await scribe.finish("ghost", RuntimeState.CANCELED) == {}


async def test_a_cancel_that_comes_after_the_end_changes_nothing(scribe: Scribe) -> None:
    await scribe.create("train")
    await scribe.start("train")
    await scribe.finish("train", result=TaskResult(parameters={"auc": 0.9}))
    assert await scribe.finish("train", RuntimeState.CANCELED) == {}
    task = by_path(await scribe.mirror())["train"]
    assert task.state is RuntimeState.SUCCEEDED
    assert task.outputs == {"auc": 0.9}
