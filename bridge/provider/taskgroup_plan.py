"""A compiled pipeline as the tree of tasks and groups that Airflow shows. Pure; made when a DAG is parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.provider.fetching import PipelineProblem

if TYPE_CHECKING:
    from bridge.spec.model import Dag, PipelineModel, Task

# Nested pipelines may use one component again and again: a small file can stand for a million tasks.
MAX_TASKS = 1000
SUBMIT, TASKS_DONE, FINISH = "submit", "tasks_done", "finish"
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One task of the pipeline, or, with ``children``, a nested pipeline, a condition or an exit
    handler's body.

    ``path`` is the dotted path of names that the bridge knows the task by, ``label`` its id within its
    group in Airflow, ``upstream`` the labels of the siblings it waits for. ``always`` tasks run
    whichever way these ended; ``condition`` is the CEL text that decides whether it runs; ``loop`` runs
    once per item, all of it shown as this one task; ``retries`` is how often KFP itself tries again.
    """

    path: str
    label: str
    display_name: str
    upstream: tuple[str, ...] = ()
    always: bool = False
    condition: str | None = None
    loop: bool = False
    retries: int = 0
    children: tuple[Planned, ...] = ()

    def tasks(self) -> Iterator[Planned]:
        """Itself if it is a task, else the tasks below it."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.tasks()


def plan_pipeline(model: PipelineModel) -> tuple[Planned, ...]:
    """The tasks of the pipeline's root in their order in the file.

    Raises ``PipelineProblem`` for one with more than ``MAX_TASKS`` tasks and groups.
    """
    dag = model.root.dag
    assert dag is not None, "the root of a pipeline that was found sound is a DAG"
    return _Planner(model).level(dag, "", reserved=(SUBMIT, TASKS_DONE, FINISH))


class _Planner:
    def __init__(self, model: PipelineModel) -> None:
        self._model = model
        self._count = 0

    def level(self, dag: Dag, above: str, reserved: Iterable[str] = ()) -> tuple[Planned, ...]:
        labels = _labels(dag.tasks, reserved)
        return tuple(self._one(task, above, labels) for task in dag.tasks.values())

    def _one(self, task: Task, above: str, labels: dict[str, str]) -> Planned:
        self._count += 1
        if self._count > MAX_TASKS:
            raise PipelineProblem(
                f"the pipeline has more than {MAX_TASKS} tasks, the most that are shown as Airflow tasks"
            )
        path = f"{above}.{task.name}" if above else task.name
        inner = None if task.iterator else self._model.components[task.component].dag
        return Planned(
            path=path,
            label=labels[task.name],
            display_name=task.display_name,
            upstream=tuple(labels[name] for name in task.dependencies),
            always=bool(task.dependencies) and task.strategy == "ALL_UPSTREAM_TASKS_COMPLETED",
            condition=task.condition,
            loop=task.iterator is not None,
            retries=task.retry.max_count if task.retry else 0,
            children=() if inner is None else self.level(inner, path),
        )


def _labels(names: Iterable[str], reserved: Iterable[str]) -> dict[str, str]:
    """An id for each name: what Airflow does not take in ids is replaced, and what is taken is numbered."""
    taken = set(reserved)
    labels = {}
    for name in names:
        base = label = _NOT_IN_IDS.sub("_", name)
        number = 0
        while label in taken:
            number += 1
            label = f"{base}__{number}"
        taken.add(label)
        labels[name] = label
    return labels
