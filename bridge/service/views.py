"""What the pages show, made from the API's messages: times and sizes in words, tasks as a tree, metrics
grouped by task. Pure functions; the templates do nothing but place what comes out of here."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from bridge.client.models import ArtifactModel, MetricModel, RunModel, TaskModel
from bridge.domain.lineage import Direction
from bridge.domain.states import parse_state

DEEPEST_INDENT = 6
_Place = tuple[float | None, float | None]
_MAX_INTEGER = 10**15
_SPANS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_AGES = ((86400, "d"), (3600, "h"), (60, "min"))
_NARROWEST_BAR = 0.7
_SHORTEST_SECONDS = 0.1
_WHOLE_SECONDS = 10
_FEW_METRICS = 12
# Characters that turn the reading direction around: in a name they only serve to show another one.
_TURNING = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\N{REPLACEMENT CHARACTER}")


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as a line of the tree. ``start`` and ``width`` place its bar on the run's time line, in
    percent of it; ``None`` while the task has not started."""

    task: TaskModel
    label: str
    depth: int
    took: str
    start: float | None = None
    width: float | None = None


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric at its last step; ``steps`` counts the values that were logged."""

    name: str
    value: float
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class MetricGroup:
    """The metrics of one task."""

    task_path: str
    metrics: Sequence[MetricRow]

    @property
    def few(self) -> bool:
        """Whether the group is small enough to be read at a glance."""
        return len(self.metrics) <= _FEW_METRICS


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """An artifact as a row: which task made or read it under which key."""

    artifact_id: UUID
    type: str
    uri: str | None
    task_path: str
    key: str
    direction: str


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """What one component ran in: its image and the packages it installed."""

    name: str
    image: str
    packages: Sequence[str]


def plain(value: Any) -> Any:
    """What a template puts out: text without characters that turn its direction, the rest as it is."""
    return value.translate(_TURNING) if type(value) is str else value


def span(length: timedelta | None) -> str:
    """A length of time in words, in its two largest units."""
    if length is None:
        return ""
    seconds = max(0.0, length.total_seconds())
    for size, unit, smaller, smaller_unit in _SPANS:
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            return f"{whole} {unit} {rest // smaller} {smaller_unit}"
    if seconds < _SHORTEST_SECONDS:
        # Backends tell whole seconds: nothing between two of them is not nothing.
        return "< 1 s"
    return f"{int(seconds)} s" if seconds >= _WHOLE_SECONDS else f"{int(seconds * 10) / 10} s"


def duration(run: RunModel, now: datetime | None = None) -> str:
    """How long the run took, or has taken so far; empty if it never began or its end is not known."""
    begin = run.started_at or run.submitted_at
    end = run.finished_at or (None if run.over else now or datetime.now(UTC))
    return span(end - begin) if begin and end else ""


def moment(value: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else ""


def ago(value: datetime, now: datetime | None = None) -> str:
    """How long ago a moment was, in its largest unit."""
    seconds = ((now or datetime.now(UTC)) - value).total_seconds()
    for size, unit in _AGES:
        if seconds >= size:
            return f"{int(seconds) // size} {unit} ago"
    return "just now"


def word(state: str) -> str:
    """A state as a reader's word: ``SUCCEEDED`` is Succeeded."""
    return state.removeprefix("RUNTIME_STATE_").capitalize()


def number(value: float) -> str:
    """A number to six significant digits; whole numbers with all of theirs, in groups."""
    if math.isfinite(value) and value == int(value) and abs(value) < _MAX_INTEGER:
        return f"{int(value):,}"
    return f"{value:.6g}"


def task_rows(tasks: Sequence[TaskModel], now: datetime | None = None) -> list[TaskRow]:
    """The tasks below the root as a tree, parents first, siblings in the order they came in."""
    known = {task.task_id for task in tasks}
    children: dict[str | None, list[TaskModel]] = defaultdict(list)
    for task in tasks:
        parent = task.parent_task_id if task.parent_task_id in known else None
        children[None if parent == task.task_id else parent].append(task)
    now = now or datetime.now(UTC)
    place = _time_line(tasks, now)
    rows: list[TaskRow] = []
    waiting = [(task, 0) for task in reversed(children[None])]
    while waiting:
        task, depth = waiting.pop()
        inner = depth
        if task.path:
            start, width = place(task)
            rows.append(
                TaskRow(task, _label(task), min(depth, DEEPEST_INDENT), _took(task, now), start, width)
            )
            inner = depth + 1
        waiting.extend((child, inner) for child in reversed(children[task.task_id]))
    return rows


def _label(task: TaskModel) -> str:
    return task.path.rpartition(".")[2]


def _end(task: TaskModel, now: datetime) -> datetime | None:
    """When the task ended; now while it goes on, ``None`` if its end was never told."""
    return task.finished_at or (None if parse_state(task.state).is_terminal else now)


def _took(task: TaskModel, now: datetime) -> str:
    end = _end(task, now)
    return span(end - task.started_at) if task.started_at and end else ""


def _time_line(tasks: Sequence[TaskModel], now: datetime) -> Callable[[TaskModel], _Place]:
    moments = [task.started_at for task in tasks if task.started_at]
    begin = min(moments, default=now)
    moments += [end for task in tasks if task.started_at and (end := _end(task, now))]
    length = (max(moments, default=now) - begin).total_seconds()

    def place(task: TaskModel) -> _Place:
        if task.started_at is None or length <= 0:
            return None, None
        start = 100 * (task.started_at - begin).total_seconds() / length
        width = 100 * ((_end(task, now) or task.started_at) - task.started_at).total_seconds() / length
        width = max(_NARROWEST_BAR, width)
        return round(min(start, 100 - width), 2), round(width, 2)

    return place


def metric_groups(metrics: Sequence[MetricModel]) -> list[MetricGroup]:
    """The metrics by task, each at its last step; small groups first."""
    by_task: dict[str, dict[str, list[MetricModel]]] = defaultdict(lambda: defaultdict(list))
    for metric in metrics:
        by_task[metric.task_path][metric.name].append(metric)
    groups = [
        MetricGroup(path, [_last(name, logged) for name, logged in sorted(names.items())])
        for path, names in sorted(by_task.items())
    ]
    return sorted(groups, key=lambda group: not group.few)


def _last(name: str, logged: Sequence[MetricModel]) -> MetricRow:
    newest = max(logged, key=lambda metric: metric.step)
    return MetricRow(name, newest.value, newest.step, len(logged))


def artifact_rows(artifacts: Sequence[ArtifactModel], inputs: Collection[str]) -> list[ArtifactRow]:
    """What tasks made, then what they only read; data that the page tells as input (by URI) is left out.

    Of an artifact that several tasks put out (a nested pipeline puts out what its tasks made) only
    the innermost is told.
    """
    made, read = [], []
    for one in artifacts:
        if one.uri in inputs:
            continue
        rows = [
            ArtifactRow(one.artifact_id, one.type, one.uri, use.task_path, use.key, use.direction)
            for use in one.uses
        ]
        outputs = [row for row in rows if row.direction == Direction.OUTPUT.value]
        if outputs:
            made.append(max(outputs, key=lambda row: row.task_path.count(".") if row.task_path else -1))
        else:
            read.extend(rows[:1])
    return made + read


def environment_rows(
    images: Mapping[str, str], packages: Mapping[str, Sequence[str]]
) -> list[EnvironmentRow]:
    """Images, which compiled pipelines keep by executor, and packages, kept by component, as one table."""
    image_of = {name.removeprefix("exec-"): image for name, image in images.items()}
    packages_of = {name.removeprefix("comp-"): found for name, found in packages.items()}
    return [
        EnvironmentRow(name, image_of.get(name, ""), packages_of.get(name, ()))
        for name in sorted({*image_of, *packages_of})
    ]


def pretty(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parameters by name, structured values as JSON."""
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1))
        for name, value in sorted(parameters.items())
    ]
