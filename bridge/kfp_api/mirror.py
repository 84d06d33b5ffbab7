"""Builds the mirror of a run from its MLMD records and its REST task details. Pure.

Custom properties are named as in ``backend/src/v2/metadata/client.go`` of KFP. MLMD knows the tree
of tasks, their parameters and artifacts; the REST details know states and errors better, since an
execution whose pod was killed, or a DAG of an older release, stays RUNNING in MLMD for ever.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.domain.lineage import Artifact, ArtifactUse, Direction, RunMirror, Task
from bridge.kfp_api import metadata_pb2 as pb
from bridge.kfp_api.messages import TaskDetail
from bridge.kfp_api.metrics import read_metrics
from bridge.kfp_api.tasks import build_tasks
from bridge.kfp_api.values import Cleaner, moment, text_of

# Not the artifact's content: its name, and how KFP's own launcher reaches the bucket.
HIDDEN_PROPERTIES = frozenset({"display_name", "store_session_info"})
_DIRECTIONS: Mapping[int, Direction] = {
    pb.Event.INPUT: Direction.INPUT,
    pb.Event.DECLARED_INPUT: Direction.INPUT,
    pb.Event.OUTPUT: Direction.OUTPUT,
    pb.Event.DECLARED_OUTPUT: Direction.OUTPUT,
}
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMetadata:
    """What MLMD holds of one run. The type names are for servers that leave ``type`` out of a record."""

    executions: Sequence[pb.Execution]
    artifacts: Sequence[pb.Artifact]
    events: Sequence[pb.Event]
    execution_types: Mapping[int, str] = field(default_factory=dict)
    artifact_types: Mapping[int, str] = field(default_factory=dict)


def build_mirror(run: RunMetadata, details: Sequence[TaskDetail]) -> RunMirror:
    """The tasks, artifacts and metrics of a run, parents before their children."""
    cleaner = Cleaner()
    tasks = build_tasks(run.executions, run.execution_types, details, cleaner)
    by_execution = {task.execution_id: task for task in tasks if task.execution_id is not None}
    uses = _uses_by_artifact(run.events, by_execution, cleaner)
    artifacts = tuple(
        _artifact(record, run.artifact_types, uses.get(record.id, ()), cleaner)
        for record in sorted(run.artifacts, key=lambda record: record.id)
    )
    metrics, blobs = read_metrics(artifacts, _current(tasks), cleaner)
    return RunMirror(
        tasks=tuple(tasks), artifacts=artifacts, metrics=metrics, blobs=blobs, warnings=cleaner.warnings
    )


def _uses_by_artifact(
    events: Sequence[pb.Event], tasks: Mapping[int, Task], cleaner: Cleaner
) -> dict[int, tuple[ArtifactUse, ...]]:
    # KFP writes no index for lists: several events under one key are told apart by their order.
    counted: defaultdict[tuple[int, Direction, str], int] = defaultdict(int)
    uses: defaultdict[int, dict[ArtifactUse, None]] = defaultdict(dict)
    for event in events:
        direction = _DIRECTIONS.get(event.type)
        task = tasks.get(event.execution_id)
        if direction is None or task is None:
            continue
        key, index = _key_and_index(event.path)
        key = cleaner.text(key, f"an artifact key of {task.path}")
        if index is None:
            index = counted[event.execution_id, direction, key]
            counted[event.execution_id, direction, key] += 1
        use = ArtifactUse(
            task_id=task.task_id, task_path=task.path, key=key, direction=direction, index=index
        )
        uses[event.artifact_id].setdefault(use)
    return {artifact_id: tuple(found) for artifact_id, found in uses.items()}


def _key_and_index(path: pb.Event.Path) -> tuple[str, int | None]:
    key = next((step.key for step in path.steps if step.WhichOneof("value") == "key"), "")
    index = next((step.index for step in path.steps if step.WhichOneof("value") == "index"), None)
    return key, index


def _artifact(
    record: pb.Artifact, types: Mapping[int, str], uses: tuple[ArtifactUse, ...], cleaner: Cleaner
) -> Artifact:
    where = next((f"{use.task_path}.{use.key}" for use in uses), f"artifact {record.id}")
    metadata = cleaner.properties(record.properties, where)
    metadata |= cleaner.properties(record.custom_properties, where)
    name = text_of(record.custom_properties, "display_name") or record.name
    return Artifact(
        backend_artifact_id=str(record.id),
        type=record.type or types.get(record.type_id, "system.Artifact"),
        uri=cleaner.text(record.uri, f"the URI of {where}") or None,
        name=cleaner.text(name, f"the name of {where}") or None,
        digest=digest_of(metadata),
        metadata={key: value for key, value in metadata.items() if key not in HIDDEN_PROPERTIES},
        created_at=moment(record.create_time_since_epoch),
        uses=uses,
    )


def digest_of(metadata: Mapping[str, object]) -> str | None:
    """The sha256 that an artifact's metadata tells, if it does."""
    for name in ("sha256", "digest"):
        value = metadata.get(name)
        found = _SHA256.fullmatch(value.lower()) if isinstance(value, str) else None
        if found:
            return found[1]
    return None


def _current(tasks: Sequence[Task]) -> frozenset[str]:
    # A retried run holds an execution for each life of a task; the last one's metrics are the run's.
    newest: dict[str, Task] = {}
    for task in tasks:
        known = newest.get(task.path)
        if known is None or (task.execution_id or 0) > (known.execution_id or 0):
            newest[task.path] = task
    return frozenset(task.task_id for task in newest.values() if task.kind != "dag")
