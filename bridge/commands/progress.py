"""Shows a run while it goes on: redrawn in a terminal, a line per change elsewhere; always on ``err``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from bridge.commands.render import duration, state_text, task_seconds
from bridge.commands.tasktree import task_lines

if TYPE_CHECKING:
    from bridge.client.models import TaskModel
    from bridge.commands.console import Console

# A terminal of usual height shows the head and the tail of a larger tree.
_MOST_LIVE_LINES = 30
TERMINAL_STATES = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})


class Progress(Protocol):
    """Where a waiting command says how far the run is."""

    def show(self, title: str, state: str, tasks: Sequence[TaskModel]) -> None:
        """The run's and its tasks' present states; only what changed is written or redrawn."""

    def say(self, text: str) -> None:
        """One line that stays, such as a line of a log."""


@contextmanager
def progress(console: Console, *, quiet: bool = False) -> Iterator[Progress]:
    """The fitting way to show progress; what was drawn is gone afterwards, what was said stays."""
    if quiet:
        yield Silence()
        return
    live = _live_display(console) if console.is_live else None
    if live is None:
        yield Lines(console)
        return
    with live:
        yield Drawing(console, live)


class Silence:
    """Shows nothing."""

    def show(self, title: str, state: str, tasks: Sequence[TaskModel]) -> None:
        """Nothing is shown."""

    def say(self, text: str) -> None:
        """Nothing is said."""


class Lines:
    """A line for every change, with the time: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[str, str] = {}

    def show(self, title: str, state: str, tasks: Sequence[TaskModel]) -> None:
        """One line for the run and for each task whose state is another one than before."""
        over = state in TERMINAL_STATES
        if not over:
            self._changed("", title, state)
        for task in sorted(tasks, key=_when_changed):
            if task.path and task.state != "PENDING":
                seconds = duration(task_seconds(task)) if task.finished_at else ""
                facts = " ".join(fact for fact in (seconds, "cached" if task.cached else "") if fact)
                at = task.finished_at or task.started_at
                self._changed(task.task_id, task.path, task.state, facts, at)
        if over:
            self._changed("", title, state)

    def say(self, text: str) -> None:
        """The line as it is."""
        self._console.note(text)

    def _changed(self, key: str, name: str, state: str, facts: str = "", at: datetime | None = None) -> None:
        if self._seen.get(key) == state:
            return
        self._seen[key] = state
        clock = (at or datetime.now(UTC)).astimezone(UTC).strftime("%H:%M:%S")
        self._console.note(f"{clock}  {state:<9}  {name}{f'  ({facts})' if facts else ''}")


class Drawing:
    """The run and its tree of tasks, redrawn in place."""

    def __init__(self, console: Console, live: Any) -> None:
        self._live = live
        self._paint = partial(console.paint, stream=console.err)

    def show(self, title: str, state: str, tasks: Sequence[TaskModel]) -> None:
        """Redraw everything."""
        from rich.text import Text

        lines = task_lines(tasks, paint=self._paint)
        if len(lines) > _MOST_LIVE_LINES:
            hidden = len(lines) - _MOST_LIVE_LINES
            lines = [f"  … {hidden} lines above", *lines[-_MOST_LIVE_LINES:]]
        head = f"{state_text(state, paint=self._paint)}  {title}"
        self._live.update(Text.from_ansi("\n".join([head, *lines])), refresh=True)

    def say(self, text: str) -> None:
        """The line, above what is redrawn."""
        from rich.text import Text

        self._live.console.print(Text.from_ansi(text))


def _live_display(console: Console) -> Any:
    try:
        from rich.console import Console as RichConsole
        from rich.live import Live
    except ImportError:
        return None
    drawn = RichConsole(file=console.err, highlight=False)
    return Live(console=drawn, auto_refresh=False, transient=True, vertical_overflow="crop")


def _when_changed(task: TaskModel) -> tuple[float, int, str]:
    at = task.finished_at or task.started_at or task.created_at
    depth = task.path.count(".")
    # What begins at the same moment begins with the parent; what ends then ends with it.
    return (at.timestamp() if at else float("inf"), -depth if task.finished_at else depth, task.path)
