"""Builds the mirror of a run from its native tasks and artifacts, equal to what MLMD would have given. Pure.

The native shape has no task for an iteration of a loop: what runs in it belongs to the loop and carries
an index. The mirror has one all the same, put together from its children, so that a task's path does
not depend on the server. Scalar metrics are an artifact each there; the mirror gathers those that a
task gave under one key into one ``system.Metrics``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bridge.domain.lineage import Artifact, ArtifactUse, Direction, RunMirror, Task
from bridge.kfp_api.metrics import CLASSIFICATION, SCALARS, read_metrics
from bridge.kfp_api.mirror import HIDDEN_PROPERTIES, digest_of
from bridge.kfp_api.native_messages import ArtifactTask, IOProducer, NativeArtifact, PipelineTask
from bridge.kfp_api.native_tasks import DAG, NativeTask, build_native_task, place_tasks, whole_number
from bridge.kfp_api.tasks import first_moment
from bridge.kfp_api.values import Cleaner

_TYPES: Mapping[str, str] = {
    "Metric": SCALARS,
    "ClassificationMetric": CLASSIFICATION,
    "SlicedClassificationMetric": "system.SlicedClassificationMetrics",
}
_METRIC = "Metric"
# KFP's kinds of links: those that end so are what a task gave, all others what it got.
_GIVEN = "OUTPUT"
_NO_ITERATION = -1
_NEVER = datetime.fromtimestamp(0, UTC)
_NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})


@dataclass(frozen=True, slots=True)
class _Use:
    """That a task got or gave an artifact; ``arrival`` keeps the order in which the server told it."""

    task_id: str
    direction: Direction
    key: str
    iteration: int
    arrival: int


class NativeRun:
    """Takes a run's tasks and links as they are read, keeps what the mirror needs of them, and builds it."""

    def __init__(self) -> None:
        self.cleaner = Cleaner()
        self._tasks: dict[str, NativeTask] = {}
        self._artifacts: dict[str, NativeArtifact] = {}
        self._uses: defaultdict[str, dict[tuple[str, Direction, str, int], _Use]] = defaultdict(dict)
        self._arrivals = 0

    @property
    def is_empty(self) -> bool:
        """Whether no task was read."""
        return not self._tasks

    @property
    def has_artifacts(self) -> bool:
        """Whether any task came with artifacts."""
        return bool(self._artifacts)

    def add_task(self, told: PipelineTask) -> None:
        """A task, with the artifacts that it carries. A page may tell one again: the later word counts."""
        task = build_native_task(told, self.cleaner)
        if task is None:
            return
        self._tasks[task.task.task_id] = task
        for direction, side in ((Direction.INPUT, told.inputs), (Direction.OUTPUT, told.outputs)):
            for group in side.artifacts if side else ():
                for artifact in group.artifacts:
                    self._use(task.task.task_id, direction, group.artifact_key, group.producer, artifact)

    def add_link(self, link: ArtifactTask, artifact: NativeArtifact) -> None:
        """A link that did not come with its task."""
        direction = Direction.OUTPUT if (link.type or "").endswith(_GIVEN) else Direction.INPUT
        self._use(link.task_id or "", direction, link.key, link.producer, artifact)

    def mirror(self) -> RunMirror:
        """The tasks, artifacts and metrics of the run, parents before their children."""
        tasks = {task.task_id: _with_place(task) for task in place_tasks(self._tasks.values())}
        artifacts = tuple(sorted(self._gathered(tasks), key=_age))
        metrics, blobs = read_metrics(artifacts, _current(tasks.values()), self.cleaner)
        return RunMirror(
            tasks=tuple(tasks.values()),
            artifacts=artifacts,
            metrics=metrics,
            blobs=blobs,
            warnings=self.cleaner.warnings,
        )

    def _use(
        self,
        task_id: str,
        direction: Direction,
        key: str | None,
        producer: IOProducer | None,
        artifact: NativeArtifact,
    ) -> None:
        if not artifact.artifact_id:
            self.cleaner.warn("an artifact without an id was left out")
            return
        iteration = whole_number(producer.iteration) if producer else None
        use = (task_id, direction, key or "", _NO_ITERATION if iteration is None else iteration)
        self._artifacts[artifact.artifact_id] = artifact
        self._uses[artifact.artifact_id].setdefault(use, _Use(*use, self._arrivals))
        self._arrivals += 1

    def _gathered(self, tasks: Mapping[str, Task]) -> Iterator[Artifact]:
        """The artifacts with their uses, scalar metrics by the task and key that gave them."""
        gathered: defaultdict[str, list[NativeArtifact]] = defaultdict(list)
        uses: defaultdict[str, list[_Use]] = defaultdict(list)
        homes: dict[tuple[str, str], str] = {}
        for artifact_id, artifact in sorted(self._artifacts.items()):
            # What a DAG gives is an output of the task inside that made it, as in MLMD.
            known = [
                use
                for use in self._uses[artifact_id].values()
                if (task := tasks.get(use.task_id)) is not None
                and not (use.direction is Direction.OUTPUT and task.kind == DAG)
            ]
            if not known:
                continue
            place = artifact_id
            if artifact.type == _METRIC:
                home = min(known, key=lambda use: (use.direction is Direction.INPUT, use.arrival))
                place = homes.setdefault((home.task_id, home.key), artifact_id)
            gathered[place].append(artifact)
            uses[place].extend(known)
        indexed = _indexed(uses, tasks, self.cleaner)
        for place, members in gathered.items():
            yield self._artifact(place, members, indexed[place])

    def _artifact(
        self, artifact_id: str, members: Sequence[NativeArtifact], uses: tuple[ArtifactUse, ...]
    ) -> Artifact:
        first, where = members[0], f"{uses[0].task_path}.{uses[0].key}"
        if first.type == _METRIC:
            metadata = dict(self._scalar(one, where) for one in members)
        else:
            metadata = self.cleaner.plain(first.metadata, where)
        name = None if first.type == _METRIC else first.name
        return Artifact(
            backend_artifact_id=artifact_id,
            type=_TYPES.get(first.type or "", f"system.{first.type or 'Artifact'}"),
            uri=self.cleaner.text(first.uri or "", f"the URI of {where}") or None,
            name=self.cleaner.text(name or uses[0].key, f"the name of {where}") or None,
            digest=digest_of(metadata),
            metadata={key: value for key, value in metadata.items() if key not in HIDDEN_PROPERTIES},
            created_at=first_moment(*sorted(one.created_at for one in members if one.created_at)),
            uses=uses,
        )

    def _scalar(self, metric: NativeArtifact, where: str) -> tuple[str, Any]:
        name = self.cleaner.text(metric.name or "", where)
        value: Any = metric.number_value
        if value is None:
            value = metric.metadata.get(metric.name or "")
            if isinstance(value, str) and value in _NOT_FINITE:
                # protobuf's JSON has no other way to write such a number.
                value = float(value)
        return name, self.cleaner.plain(value, f"{where}.{name}")


def _indexed(
    uses: Mapping[str, Sequence[_Use]], tasks: Mapping[str, Task], cleaner: Cleaner
) -> dict[str, tuple[ArtifactUse, ...]]:
    """The uses of each artifact; those under one key of one task are numbered in their order."""
    slots: defaultdict[tuple[str, Direction, str], dict[str, tuple[int, int]]] = defaultdict(dict)
    for place, known in uses.items():
        for use in known:
            slot = slots[use.task_id, use.direction, use.key]
            slot[place] = min(slot.get(place, (use.iteration, use.arrival)), (use.iteration, use.arrival))
    found: defaultdict[str, list[tuple[int, ArtifactUse]]] = defaultdict(list)
    for (task_id, direction, key), slot in slots.items():
        path = tasks[task_id].path
        shown = cleaner.text(key, f"an artifact key of {path}")
        for index, place in enumerate(sorted(slot, key=slot.__getitem__)):
            told = ArtifactUse(task_id=task_id, task_path=path, key=shown, direction=direction, index=index)
            found[place].append((slot[place][1], told))
    return {
        place: tuple(use for _, use in sorted(known, key=lambda one: one[0]))
        for place, known in found.items()
    }


def _with_place(task: Task) -> Task:
    return task if task.error is None else replace(task, error=replace(task.error, task=task.path))


def _age(artifact: Artifact) -> tuple[datetime, str]:
    return artifact.created_at or _NEVER, artifact.backend_artifact_id


def _current(tasks: Iterable[Task]) -> frozenset[str]:
    # A task that was made anew stands beside its former self; the last one's metrics are the run's.
    newest: dict[str, Task] = {}
    for task in tasks:
        known = newest.get(task.path)
        if known is None or (task.created_at or _NEVER) >= (known.created_at or _NEVER):
            newest[task.path] = task
    return frozenset(task.task_id for task in newest.values() if task.kind != DAG)
