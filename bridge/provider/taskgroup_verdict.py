"""What a run and its tasks, as the bridge tells of them, mean for one task that Airflow shows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.domain.states import parse_state

if TYPE_CHECKING:
    from bridge.client.models import RunModel, TaskModel


class Verdict(StrEnum):
    """What the Airflow task does now."""

    WAIT = "wait"
    SUCCESS = "success"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, why, and the KFP task it is about, if KFP has one."""

    verdict: Verdict
    reason: str = ""
    task: TaskModel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The task that is waited for. ``retries`` is how often KFP itself tries it again; ``again`` says
    that the Airflow task runs another time, so that an old failure may be all there is to see yet."""

    path: str
    loop: bool = False
    retries: int = 0
    again: bool = False


class RunTasks:
    """The tasks of one reading of a run, by path. A retried run holds a task for each life of a path."""

    def __init__(self, tasks: Sequence[TaskModel]) -> None:
        self._all = tasks
        self._by_path: dict[str, list[TaskModel]] = {}
        for task in tasks:
            self._by_path.setdefault(task.path, []).append(task)
        self.states = frozenset((task.task_id, task.state) for task in tasks)

    def at(self, path: str) -> Sequence[TaskModel]:
        """All tasks at a path, oldest first."""
        return self._by_path.get(path, ())

    def newest(self, path: str) -> TaskModel | None:
        """The task of the path's newest life."""
        found = self.at(path)
        return found[-1] if found else None

    def of(self, wanted: Wanted) -> list[TaskModel]:
        """The task, and what is below it if it is a loop."""
        if not wanted.loop:
            return list(self.at(wanted.path))
        return [task for task in self._all if belongs(task.path, wanted)]

    def iterations(self, path: str) -> list[TaskModel]:
        """The newest life of each iteration of a loop, in their order."""
        newest = {task.path: task for task in self._all if _is_iteration(task.path, path)}
        return sorted(newest.values(), key=lambda task: (task.iteration is None, task.iteration or 0))


def belongs(path: str, wanted: Wanted) -> bool:
    """Whether a path is the wanted task's, or below it if that is a loop."""
    if path == wanted.path:
        return True
    return wanted.loop and path.startswith((f"{wanted.path}[", f"{wanted.path}."))


def judge(run: RunModel, tasks: RunTasks, wanted: Wanted) -> Judged:
    """What the task does, given a run and a reading of its tasks that is not older.

    In a run that was retried, and for an Airflow task that runs again, a failure and a skip count only
    once the run is over: what is seen before may be left from the life before.
    """
    found = tasks.newest(wanted.path)
    judged = _without(run, tasks, wanted) if found is None else _by_state(run, found)
    unsure = (wanted.again or run.revivals > 0) and not run.over
    if judged.verdict in (Verdict.FAIL, Verdict.SKIP) and unsure:
        return Judged(Verdict.WAIT, task=found)
    if judged.verdict is Verdict.FAIL and not run.over and _kfp_tries_again(tasks, wanted):
        return Judged(Verdict.WAIT, task=found)
    return judged


def _by_state(run: RunModel, task: TaskModel) -> Judged:
    state = parse_state(task.state)
    if state.is_successful:
        if task.cached or state.value == "SUCCEEDED":
            return Judged(Verdict.SUCCESS, task=task)
        return Judged(Verdict.SKIP, f"KFP skipped {task.path!r}", task)
    if state.is_terminal:
        why = task.error.message if task.error else "the backend gave no reason"
        return Judged(Verdict.FAIL, f"KFP task {task.path!r} ended {task.state}: {why}", task)
    if not run.over:
        return Judged(Verdict.WAIT, task=task)
    # Published releases leave DAGs and tasks whose pod was killed RUNNING for ever.
    if parse_state(run.state).is_successful:
        return Judged(Verdict.SUCCESS, f"KFP left {task.path!r} {task.state} in a run that succeeded", task)
    return Judged(Verdict.FAIL, f"KFP task {task.path!r} did not end; its run ended {run.state}", task)


def _without(run: RunModel, tasks: RunTasks, wanted: Wanted) -> Judged:
    for path in _ancestors(wanted.path):
        above = tasks.newest(path)
        if above is None:
            continue
        if parse_state(above.state).is_successful:
            return Judged(Verdict.SKIP, f"its branch was not taken: {path!r} ended {above.state}")
    if not run.over:
        return Judged(Verdict.WAIT)
    if parse_state(run.state).is_successful:
        return Judged(Verdict.SKIP, f"KFP ran no {wanted.path!r}: its branch was not taken")
    return Judged(Verdict.FAIL, f"KFP ran no {wanted.path!r}: its run ended {run.state}")


def _kfp_tries_again(tasks: RunTasks, wanted: Wanted) -> bool:
    return 0 < len(tasks.at(wanted.path)) <= wanted.retries


def _ancestors(path: str) -> Iterator[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _is_iteration(path: str, loop: str) -> bool:
    return path.startswith(f"{loop}[") and path.endswith("]") and path[len(loop) + 1 : -1].isdigit()
