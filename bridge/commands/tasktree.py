"""A run's tasks as a tree of lines; large loops are summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.commands.render import Paint, duration, plain, state_text, task_seconds, visible_length

if TYPE_CHECKING:
    from bridge.client.models import TaskModel

# More children than this are counted instead of listed, but for those that did not go well.
_MOST_CHILDREN = 20
_MOST_LISTED = 10
_UNREMARKABLE = frozenset({"SUCCEEDED", "SKIPPED", "PENDING"})


def task_lines(
    tasks: Sequence[TaskModel], *, paint: Paint = plain, unicode: bool = True, whole: bool = False
) -> list[str]:
    """One line per task, children indented under their parents; ``whole`` leaves nothing out."""
    tree = _Tree(tasks, paint, unicode, whole)
    tree.walk(tree.roots(), 1)
    longest = max((visible_length(left) for left, _ in tree.rows), default=0)
    return [f"{left}{' ' * (longest - visible_length(left))}  {right}".rstrip() for left, right in tree.rows]


class _Tree:
    def __init__(self, tasks: Sequence[TaskModel], paint: Paint, unicode: bool, whole: bool) -> None:
        self.rows: list[tuple[str, str]] = []
        self._paint, self._unicode, self._whole = paint, unicode, whole
        self._tasks = {task.task_id: task for task in tasks}
        self._children: dict[str | None, list[TaskModel]] = {}
        for task in tasks:
            self._children.setdefault(self._parent_of(task), []).append(task)

    def _parent_of(self, task: TaskModel) -> str | None:
        parent = task.parent_task_id
        return parent if parent in self._tasks and parent != task.task_id else None

    def roots(self) -> list[TaskModel]:
        """The tasks to begin with: those below the run's own root, if that is mirrored."""
        top = self._children.get(None, [])
        inside = [child for task in top if task.path == "" for child in self._children.get(task.task_id, [])]
        return inside + [task for task in top if task.path != ""]

    def walk(self, level: Sequence[TaskModel], depth: int) -> None:
        """Add the rows of these tasks and of what is below them."""
        ordered = sorted(level, key=_when)
        shown = ordered if self._whole or len(ordered) <= _MOST_CHILDREN else _remarkable(ordered)
        for task in shown:
            self.rows.append(self._row(task, depth))
            # This ends: each task has one parent, and a cycle of parents hangs under no root.
            self.walk(self._children.get(task.task_id, []), depth + 1)
        if len(shown) < len(ordered):
            self.rows.append(("  " * depth + _summary(ordered, len(ordered) - len(shown)), ""))

    def _row(self, task: TaskModel, depth: int) -> tuple[str, str]:
        name = task.name if task.iteration is None else f"{task.name}[{task.iteration}]"
        facts = [duration(task_seconds(task)), "cached" if task.cached else ""]
        if task.error is not None and task.state == "FAILED" and task.error.message:
            facts.append(self._paint(task.error.message.splitlines()[0], "red"))
        state = state_text(task.state, paint=self._paint, unicode=self._unicode)
        return f"{'  ' * depth}{state}  {name}", "  ".join(fact for fact in facts if fact)


def _remarkable(tasks: Sequence[TaskModel]) -> list[TaskModel]:
    return [task for task in tasks if task.state not in _UNREMARKABLE][:_MOST_LISTED]


def _summary(tasks: Sequence[TaskModel], hidden: int) -> str:
    counts = Counter(task.state for task in tasks)
    words = ", ".join(f"{number} {state}" for state, number in counts.most_common())
    return f"… {hidden} more (of {len(tasks)}: {words})"


def _when(task: TaskModel) -> tuple[bool, float, int, str]:
    begin = task.started_at or task.created_at
    return (begin is None, begin.timestamp() if begin else 0.0, task.iteration or 0, task.path)
