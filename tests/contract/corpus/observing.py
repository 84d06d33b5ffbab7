"""What a backend says of a run, read over its APIs, as plain data to compare expectations with.

Everything goes through the bridge's own readers: REST for the run and its logs, ``MetadataReader`` for
tasks, artifacts and metrics, whichever shape the backend keeps them in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from bridge.domain.lineage import Artifact, Direction, RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.domain.uris import local_path
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.messages import Run
from bridge.kfp_api.metadata import MetadataReader

_MAX_FILES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenArtifact:
    """An artifact and where it comes from: ``path.key`` of the container or importer that put it out."""

    id: str
    type: str
    uri: str | None
    metadata: Mapping[str, Any]
    content: Any
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTask:
    """A task with all that it took and gave."""

    path: str
    state: RuntimeState
    kind: str | None
    cached: bool
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    started_at: datetime | None = None
    finished_at: datetime | None = None
    artifacts: Mapping[str, tuple[SeenArtifact, ...]] = field(default_factory=dict)
    takes: Mapping[str, tuple[SeenArtifact, ...]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    blobs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    log: tuple[str, ...] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRun:
    """A run at its end.

    ``tasks`` are by path and hold the root DAG under the empty one; ``doubles`` are paths that came more than
    once. ``has_iterations`` says whether a loop's iterations are tasks of their own to the backend; where
    they are not, the reader makes them up of their children. ``detailed`` counts the states that REST's
    ``run_details`` tell, empty where the run has none. ``known`` is what expectations may name.
    """

    state: RuntimeState
    error: str | None
    tasks: Mapping[str, SeenTask]
    doubles: tuple[str, ...]
    has_iterations: bool
    detailed: Mapping[RuntimeState, int]
    known: Mapping[str, Any]
    scratch: Path


async def observe(
    client: KfpClient,
    reader: MetadataReader,
    run: Run,
    *,
    has_iterations: bool,
    known: Mapping[str, Any],
    scratch: Path,
) -> SeenRun:
    """Everything about a run that has ended."""
    assert run.run_id is not None
    mirror = await reader.read_run(UUID(run.run_id), run.task_details)
    assert mirror is not None, "the backend has no metadata of the run"
    logs = {
        task.path: await _log(client, run.run_id, task.pod_name) for task in mirror.tasks if task.pod_name
    }
    seen = _Reading(mirror, logs)
    paths = [task.path for task in mirror.tasks]
    return SeenRun(
        state=run.runtime_state,
        error=run.error.message if run.error else None,
        tasks={task.path: seen.task(task) for task in mirror.tasks},
        doubles=tuple(sorted({path for path in paths if paths.count(path) > 1})),
        has_iterations=has_iterations,
        detailed=Counter(detail.runtime_state for detail in run.task_details),
        known={**known, "kfp_run_id": run.run_id, "run_name": run.display_name},
        scratch=scratch,
    )


async def _log(client: KfpClient, run_id: str, pod_name: str) -> tuple[str, ...]:
    return tuple((await client.node_log_text(run_id, pod_name)).splitlines())


class _Reading:
    """Puts the parts of a mirror together, task by task."""

    def __init__(self, mirror: RunMirror, logs: Mapping[str, tuple[str, ...]]) -> None:
        self._mirror = mirror
        self._logs = logs
        leaves = {task.task_id for task in mirror.tasks if task.kind != "dag"}
        self._put_out: defaultdict[str, dict[str, dict[int, SeenArtifact]]] = defaultdict(dict)
        self._taken: defaultdict[str, dict[str, dict[int, SeenArtifact]]] = defaultdict(dict)
        for artifact in mirror.artifacts:
            seen = _artifact(artifact, leaves)
            for use in artifact.uses:
                side = self._put_out if use.direction is Direction.OUTPUT else self._taken
                side[use.task_id].setdefault(use.key, {})[use.index] = seen

    def task(self, task: Task) -> SeenTask:
        blobs: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for blob in self._mirror.blobs:
            if blob.task_path == task.path:
                blobs[blob.name][blob.kind] = blob.content
        return SeenTask(
            path=task.path,
            state=task.state,
            kind=task.kind,
            cached=task.cached,
            inputs=task.inputs,
            outputs=task.outputs,
            started_at=task.started_at,
            finished_at=task.finished_at,
            artifacts=_in_order(self._put_out[task.task_id]),
            takes=_in_order(self._taken[task.task_id]),
            metrics={one.name: one.value for one in self._mirror.metrics if one.task_path == task.path},
            blobs=blobs,
            log=self._logs.get(task.path),
            error=task.error.message if task.error else None,
        )


def _in_order(found: Mapping[str, Mapping[int, SeenArtifact]]) -> dict[str, tuple[SeenArtifact, ...]]:
    return {key: tuple(by_index[index] for index in sorted(by_index)) for key, by_index in found.items()}


def _artifact(artifact: Artifact, leaves: set[str]) -> SeenArtifact:
    makers = [
        f"{use.task_path}.{use.key}"
        for use in artifact.uses
        if use.direction is Direction.OUTPUT and use.task_id in leaves
    ]
    return SeenArtifact(
        id=artifact.backend_artifact_id,
        type=artifact.type,
        uri=artifact.uri,
        metadata=artifact.metadata,
        content=_content(artifact.uri),
        origin=makers[0] if makers else "",
    )


def _content(uri: str | None) -> Any:
    """The text of a file, the texts of a folder's files by their paths, ``None`` for what is not there."""
    place = local_path(uri) if uri else None
    if place is None:
        return None
    path = Path(str(place))
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    if path.is_dir():
        files = sorted(item for item in path.rglob("*") if item.is_file())[:_MAX_FILES]
        return {str(item.relative_to(path)): item.read_text(errors="replace") for item in files}
    return None
