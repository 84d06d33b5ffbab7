"""The mirror of a run does not depend on the shape in which its server keeps metadata."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bridge.domain.lineage import Artifact, RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.kfp_api import errors
from bridge.kfp_api.choosing import ChoosingReader
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.messages import Run
from bridge.kfp_api.metadata import MetadataReader
from bridge.kfp_api.mlmd import MlmdReader
from bridge.kfp_api.native import NativeReader, serves_native
from tests.contract.kfp_api.conftest import local_backend
from tests.contract.kfp_api.runs import COMPILED, run_to_end

SDK_PIPELINES = Path(__file__).resolve().parents[2] / "integration" / "local" / "sdk_pipelines.py"
SHAPES = (COMPILED / "shapes.yaml").read_text(encoding="utf-8")
FAILING = (COMPILED / "failing.yaml").read_text(encoding="utf-8")
# ``cached`` are the shapes once more; the last two have artifacts, OneOf, Collected, an importer.
PIPELINES = ("shapes", "cached", "failing", "with-inner", "breaks")


@dataclass(frozen=True)
class Both:
    """The mirrors of the same runs by either reader, by the pipeline's name; ``pages`` in pages of two."""

    mlmd: dict[str, RunMirror]
    native: dict[str, RunMirror]
    pages: dict[str, RunMirror]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The pipelines' texts."""
    folder = tmp_path_factory.mktemp("compiled")
    command = [sys.executable, str(SDK_PIPELINES), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    made = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.yaml")}
    return {"shapes": SHAPES, "cached": SHAPES, "failing": FAILING, **made}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, compiled: Mapping[str, str]) -> Both:
    """The same data directory, served first in one shape and then in the other."""
    return asyncio.run(read_both(tmp_path_factory.mktemp("both"), compiled))


async def read_both(folder: Path, compiled: Mapping[str, str]) -> Both:
    runs: dict[str, Run] = {}
    found = Both({}, {}, {})
    with local_backend(folder) as url:
        async with KfpClient(url) as client:
            assert not await serves_native(client)
            for name in PIPELINES:
                arguments = {"numbers": [3, 4, 5]} if compiled[name] is SHAPES else {}
                runs[name] = await run_to_end(client, compiled[name], arguments)
                found.mlmd[name] = await read(MlmdReader(client), runs[name])
    with local_backend(folder, "--metadata", "native") as url:
        async with KfpClient(url) as client:
            reader = ChoosingReader(client)
            for name, run in runs.items():
                found.native[name] = await read(reader, run)
                found.pages[name] = await read(NativeReader(client, page_size=2), run)
            assert reader.shape == "native"
            with pytest.raises(errors.KfpNotFound):
                await MlmdReader(client).read_run(UUID(runs["shapes"].run_id), ())
    return found


async def read(reader: MetadataReader, run: Run) -> RunMirror:
    mirror = await reader.read_run(UUID(run.run_id), run.task_details)
    assert mirror is not None
    return mirror


def comparable(mirror: RunMirror) -> dict[str, Any]:
    """A mirror without what the shapes do not share: the ids of their records and the order in which they
    came, what an iteration itself got and when, and where metrics lie."""
    iterations = {task.task_id for task in mirror.tasks if task.iteration is not None and task.kind == "dag"}
    paths = {task.task_id: task.path for task in mirror.tasks}
    tasks = {task.path: shared_task(task, paths, task.task_id in iterations) for task in mirror.tasks}
    assert len(tasks) == len(mirror.tasks)
    return {
        "tasks": tasks,
        "artifacts": sorted((shared_artifact(one, iterations) for one in mirror.artifacts), key=repr),
        "metrics": sorted(mirror.metrics, key=lambda metric: metric.key),
        "blobs": sorted(mirror.blobs, key=lambda blob: (blob.task_path, blob.name, blob.kind)),
        "warnings": mirror.warnings,
    }


def shared_task(task: Task, paths: Mapping[str, str], is_iteration: bool) -> Task:
    parent = None if task.parent_task_id is None else paths[task.parent_task_id]
    task = replace(task, task_id="", execution_id=None, parent_task_id=parent)
    if task.state is RuntimeState.SKIPPED and not task.cached:
        # It never started; what stands for that is when its record was made.
        task = replace(task, started_at=None)
    if not is_iteration:
        return task
    return replace(task, inputs={}, created_at=None, started_at=None, finished_at=None)


def shared_artifact(artifact: Artifact, iterations: set[str]) -> Artifact:
    uses = [replace(use, task_id="") for use in artifact.uses if use.task_id not in iterations]
    uses.sort(key=lambda use: (use.task_path, use.key, use.direction, use.index))
    return replace(
        artifact,
        backend_artifact_id="",
        uri=None if "Metrics" in artifact.type else artifact.uri,
        uses=tuple(uses),
        metadata=dict(sorted(artifact.metadata.items())),
    )


@pytest.mark.parametrize("name", PIPELINES)
def test_the_mirror_is_the_same(both: Both, name: str) -> None:
    expected, found = comparable(both.mlmd[name]), comparable(both.native[name])
    assert found["tasks"] == expected["tasks"]
    assert found["artifacts"] == expected["artifacts"]
    assert found == expected


@pytest.mark.parametrize("name", PIPELINES)
def test_pages_of_two_make_the_same_mirror(both: Both, name: str) -> None:
    assert both.pages[name] == both.native[name]


def test_what_was_compared_holds_what_matters(both: Both) -> None:
    tasks = [task for mirror in both.native.values() for task in mirror.tasks]
    artifacts = [artifact for mirror in both.native.values() for artifact in mirror.artifacts]
    assert {task.kind for task in tasks} == {"container", "dag", "importer"}
    assert {str(task.state) for task in tasks} == {"SUCCEEDED", "SKIPPED", "FAILED"}
    assert any(task.cached for task in tasks)
    assert any(task.iteration is not None for task in tasks)
    assert {"system.Metrics", "system.Dataset"} <= {artifact.type for artifact in artifacts}
    assert any(mirror.metrics for mirror in both.native.values())
