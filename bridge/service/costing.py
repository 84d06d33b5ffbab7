"""From what tasks asked for and how long they ran to hours, and from hours to money."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlmodel import Session

from bridge.client.costs import CostItem, UsageModel
from bridge.domain.lineage import Run, Task
from bridge.domain.usage import CPU, MEMORY, PLAIN, RUN, UNKNOWN, Prices, TaskUse, hours_of
from bridge.lineage import specs
from bridge.lineage.usage import Total
from bridge.service.settings import ServiceSettings
from bridge.spec.load import Pipeline, SpecError, load_pipeline
from bridge.spec.resources import asked_by_task

_REMEMBERED = 64
_NO_CONTAINER = ("dag", "importer")


def prices_of(settings: ServiceSettings) -> Prices:
    """The price table of the settings."""
    return Prices({(one.backend or "", one.resource): one.per_hour for one in settings.prices})


def task_uses(tasks: Iterable[Task], pipeline: Pipeline | None, run_end: datetime | None) -> list[TaskUse]:
    """What the run's containers had, each for as long as it ran.

    One whose end nobody told ran until the run's own (now, of a run that goes on).
    """
    found = []
    for task in tasks:
        end = task.finished_at or run_end
        if task.kind in _NO_CONTAINER or not task.path or task.cached or not task.started_at or not end:
            continue
        seconds = max(0.0, (end - task.started_at).total_seconds())
        asked = asked_by_task(pipeline, task.path) if pipeline else None
        if asked is None or asked.nothing:
            found.append(TaskUse(path=task.path, seconds=seconds, known=False))
            continue
        found.append(
            TaskUse(
                path=task.path,
                seconds=seconds,
                cpu=asked.cpu,
                memory_gib=asked.memory_gib,
                accelerator=asked.accelerator,
                accelerators=asked.accelerators,
            )
        )
    return found


class Meter:
    """Measures runs for one worker; remembers the last few pipelines, which come again and again."""

    def __init__(self) -> None:
        self._pipelines: OrderedDict[tuple[str, str], Pipeline | None] = OrderedDict()

    def hours(self, session: Session, run: Run, tasks: Sequence[Task]) -> dict[str, float]:
        """The hours that a run which is over used, by resource."""
        end = run.over_at
        length = (end - run.started_at).total_seconds() if run.started_at and end else 0.0
        return hours_of(task_uses(tasks, self._pipeline(session, run), end), max(0.0, length))

    def _pipeline(self, session: Session, run: Run) -> Pipeline | None:
        key = (run.project, run.pipeline.digest)
        if key not in self._pipelines:
            stored = specs.get_spec(session, *key)
            try:
                self._pipelines[key] = load_pipeline(stored.text) if stored else None
            except SpecError:
                # Stored by a version with other limits: what its tasks asked for is then unknown.
                self._pipelines[key] = None
            while len(self._pipelines) > _REMEMBERED:
                self._pipelines.popitem(last=False)
        return self._pipelines[key]


def usage_fields(hours_at: Mapping[str, Mapping[str, float]], prices: Prices) -> dict[str, object]:
    """The fields of a ``UsageModel`` from hours by backend and resource."""
    hours: dict[str, float] = defaultdict(float)
    cost: float | None = None
    unpriced: set[str] = set()
    for backend, found in hours_at.items():
        for resource, amount in found.items():
            hours[resource] += amount
        part = prices.cost(backend, found)
        cost = cost if part is None else (cost or 0.0) + part
        unpriced.update(prices.unpriced(backend, found))
    accelerators = {name: round(amount, 6) for name, amount in sorted(hours.items()) if name not in PLAIN}
    return {
        "cpu_hours": round(hours[CPU], 6),
        "memory_gib_hours": round(hours[MEMORY], 6),
        "gpu_hours": round(sum(accelerators.values()), 6),
        "accelerator_hours": accelerators,
        "unknown_hours": round(hours[UNKNOWN], 6),
        "run_hours": round(hours[RUN], 6),
        "cost": None if cost is None else round(cost, 6),
        "unpriced": sorted(unpriced),
    }


def cost_items(totals: Sequence[Total], prices: Prices) -> list[CostItem]:
    """The totals by key, the dearest first."""
    by_key: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    runs: dict[str, int] = defaultdict(int)
    for one in totals:
        by_key[one.key][one.backend][one.resource] = one.hours
        if one.resource == RUN:
            runs[one.key] += one.runs
    items = [
        CostItem.model_validate({"key": key, "runs": runs[key], **usage_fields(hours, prices)})
        for key, hours in by_key.items()
    ]
    items.sort(key=lambda item: (-(item.cost or 0.0), -item.run_hours, item.key))
    return items


def cost_total(whole: Sequence[Total], prices: Prices) -> UsageModel:
    """All usage together, from its totals by backend and resource."""
    hours: dict[str, dict[str, float]] = defaultdict(dict)
    for one in whole:
        hours[one.backend][one.resource] = one.hours
    return UsageModel.model_validate(usage_fields(hours, prices))
