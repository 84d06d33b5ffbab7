"""The metadata reader against a real metadata service."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID, uuid4

from bridge.domain.lineage import Direction, RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.kfp_api.choosing import ChoosingReader
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.messages import Run
from tests.contract.kfp_api.runs import COMPILED, run_to_end

SHAPES = (COMPILED / "shapes.yaml").read_text(encoding="utf-8")
FAILING = (COMPILED / "failing.yaml").read_text(encoding="utf-8")


async def mirror_of(client: KfpClient, run: Run) -> RunMirror:
    mirror = await ChoosingReader(client).read_run(UUID(run.run_id), run.task_details)
    assert mirror is not None
    return mirror


def by_name(mirror: RunMirror) -> Mapping[str, Task]:
    return {task.name: task for task in mirror.tasks}


async def test_an_unknown_run_has_no_metadata(client: KfpClient) -> None:
    assert await ChoosingReader(client).read_run(uuid4(), ()) is None


async def test_loops_conditions_and_nested_pipelines(client: KfpClient) -> None:
    run = await run_to_end(client, SHAPES, {"numbers": [1, 2, 3], "limit": 10})
    assert run.runtime_state is RuntimeState.SUCCEEDED
    mirror = await mirror_of(client, run)
    paths = [task.path for task in mirror.tasks]
    inner = "exit-handler-1.sum-of-squares"
    assert paths[0] == ""
    assert len(set(paths)) == len(paths)
    assert {f"{inner}.for-loop-1", f"{inner}.for-loop-1[2].square", f"{inner}.add", "conclude"} <= set(paths)
    tasks = {task.path: task for task in mirror.tasks}
    assert tasks[""].kind == "dag"
    assert tasks[""].inputs == {"numbers": [1.0, 2.0, 3.0], "limit": 10.0}
    assert tasks[f"{inner}.for-loop-1[1]"].iteration == 1
    assert tasks[f"{inner}.for-loop-1[2].square"].outputs == {"Output": 9.0}
    assert all(task.state.is_terminal for task in mirror.tasks)
    skipped = [task for task in mirror.tasks if task.state is RuntimeState.SKIPPED]
    assert [task.kind for task in skipped] == ["dag"]
    parents = {task.task_id for task in mirror.tasks}
    assert all(task.parent_task_id in parents for task in mirror.tasks if task.path)


async def test_metrics_and_artifacts(client: KfpClient) -> None:
    run = await run_to_end(client, SHAPES, {"numbers": [2, 3]})
    mirror = await mirror_of(client, run)
    add = "exit-handler-1.sum-of-squares.add"
    assert {metric.key: metric.value for metric in mirror.metrics} == {
        f"{add}.count": 2.0,
        f"{add}.total": 13.0,
    }
    artifact = next(one for one in mirror.artifacts if one.type == "system.Metrics")
    made = [use for use in artifact.uses if use.direction is Direction.OUTPUT and use.task_path == add]
    assert [use.key for use in made] == ["scores"]
    assert mirror.warnings == ()


async def test_a_failed_task_carries_its_error(client: KfpClient) -> None:
    run = await run_to_end(client, FAILING)
    tasks = by_name(await mirror_of(client, run))
    explode = tasks["explode"]
    assert explode.state is RuntimeState.FAILED
    assert explode.error is not None
    assert explode.error.task == "explode"
    assert explode.pod_name
    assert tasks["prepare"].state.is_successful


async def test_a_second_run_comes_from_the_cache(client: KfpClient) -> None:
    arguments = {"numbers": [5, 6, 7], "limit": 1}
    first = await run_to_end(client, SHAPES, arguments)
    second = await run_to_end(client, SHAPES, arguments)
    before, after = await mirror_of(client, first), await mirror_of(client, second)
    cached = [task.name for task in after.tasks if task.cached]
    assert "add" in cached
    assert {metric.key: metric.value for metric in after.metrics} == {
        metric.key: metric.value for metric in before.metrics
    }


async def test_a_change_names_its_run_and_moves_the_watermark(client: KfpClient) -> None:
    reader = ChoosingReader(client)
    before = await reader.changed_since(0)
    if reader.shape == "native":
        # It lists the tasks of one run at a time, so active runs are read one by one.
        assert before is None
        return
    assert before is not None
    run = await run_to_end(client, FAILING)
    after = await reader.changed_since(before.newest_ms)
    assert after is not None
    assert UUID(run.run_id) in after.kfp_run_ids
    assert after.newest_ms > before.newest_ms
    later = await reader.changed_since(after.newest_ms + 1)
    assert later is not None
    assert UUID(run.run_id) not in later.kfp_run_ids
