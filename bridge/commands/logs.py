"""``kfbridge logs``: what a task wrote."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from bridge.commands.connection import find_run, open_client
from bridge.commands.failures import CommandError, explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option, add_run_argument

if TYPE_CHECKING:
    from bridge.client.models import RunModel, TaskModel
    from bridge.client.sync import BridgeClient
    from bridge.commands.console import Console

_POLL_SECONDS = 1.0
_SHOWN_TASKS = 20
# By so much of what was printed last its place in the end of a log is found again.
_RECOGNISED_CHARACTERS, _LEAST_RECOGNISED = 4096, 32


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "logs",
        run,
        help_text="show what a task wrote",
        description="Show the log of a task: of the one named, else of the one that failed, else of all.",
    )
    add_run_argument(parser)
    parser.add_argument("task", metavar="TASK", nargs="?", help="the task's name, or its path")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run is over")
    add_bridge_options(parser)
    add_json_option(parser, "JSON lines {task, line}")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the logs."""
    from bridge.client.errors import BridgeError

    with open_client(args, console) as client:
        try:
            found = find_run(client, args.run)
            printer = _Printer(args, console)
            while True:
                tasks = _chosen(client, found, args)
                printer.several = printer.several or len(tasks) > 1
                if args.follow and args.task and tasks:
                    for piece in client.follow_log(found.run_id, tasks[0].path):
                        printer.feed(tasks[0].path, piece)
                    break
                for task in tasks:
                    printer.add(task.path, _log_of(client, found, task))
                if not args.follow or found.over:
                    break
                time.sleep(_POLL_SECONDS)
                found = client.get_run(found.run_id)
        except BridgeError as error:
            raise explain_bridge_error(error, f"reading logs of run {args.run}") from error
    printer.finish()
    if not printer.printed and not args.json:
        console.note("no task has written anything" + ("" if found.over else " yet"))
    return 0


class _Printer:
    """Prints only what is new of each log, whole lines at a time."""

    def __init__(self, args: argparse.Namespace, console: Console) -> None:
        self._json = args.json
        self._console = console
        self._printed: dict[str, int] = {}
        self._last: dict[str, str] = {}
        self._rest: dict[str, str] = {}
        self.several = args.follow and not args.task
        self.printed = False

    def add(self, path: str, text: str) -> None:
        """The log of a task as far as it is now, or its end where it is long."""
        begin = self._new_in(path, text)
        self._rest[path] = ""
        self.feed(path, text[begin:])
        printed = self._printed[path] = len(text) - len(self._rest[path])
        self._last[path] = text[max(0, printed - _RECOGNISED_CHARACTERS) : printed]

    def _new_in(self, path: str, text: str) -> int:
        begin, last = self._printed.get(path, 0), self._last.get(path, "")
        if text[:begin].endswith(last):
            return begin
        # A bridge gives the end of a long log: what is new comes after what was printed last.
        while len(last) >= _LEAST_RECOGNISED:
            found = text.rfind(last)
            if found >= 0:
                return found + len(last)
            last = last[len(last) // 2 + 1 :]
        return 0

    def feed(self, path: str, piece: str) -> None:
        """What comes next in the log of a task."""
        whole, newline, rest = (self._rest.get(path, "") + piece).rpartition("\n")
        if newline:
            self._print(path, whole)
        self._rest[path] = rest

    def finish(self) -> None:
        """Print last lines that have no newline at their end."""
        for path, rest in self._rest.items():
            if rest:
                self._print(path, rest)

    def _print(self, path: str, text: str) -> None:
        self.printed = True
        for line in text.split("\n"):
            if self._json:
                self._console.result_json({"task": path, "line": line}, indent=None)
            else:
                prefix = f"{self._console.paint(path, 'cyan')} | " if self.several else ""
                self._console.result(f"{prefix}{line}")


def _chosen(client: BridgeClient, run: RunModel, args: argparse.Namespace) -> list[TaskModel]:
    tasks = [task for task in client.tasks(run.run_id) if task.path and task.kind != "dag"]
    if args.task:
        return [_named(tasks, args.task, waiting=args.follow and not run.over)] if tasks else []
    if run.error is not None and run.error.task and not args.follow:
        failed = [task for task in tasks if task.path == run.error.task]
        if failed:
            return failed
    return [task for task in tasks if task.started_at is not None and not task.cached]


def _named(tasks: list[TaskModel], name: str, *, waiting: bool) -> TaskModel:
    exact = [task for task in tasks if task.path == name]
    found = exact or [task for task in tasks if task.name == name]
    if len(found) == 1:
        return found[0]
    paths = [task.path for task in (found or tasks)]
    more = [f"… {len(paths) - _SHOWN_TASKS} more"] if len(paths) > _SHOWN_TASKS else []
    happened = f"{len(found)} tasks are called {name}" if found else f"the run has no task {name}"
    raise CommandError(
        happened + (" yet" if waiting and not found else ""),
        details=[*paths[:_SHOWN_TASKS], *more],
        to_do="give one of these paths.",
    )


def _log_of(client: BridgeClient, run: RunModel, task: TaskModel) -> str:
    from bridge.client.errors import ProblemError

    try:
        return client.logs(run.run_id, task.path)
    except ProblemError as error:
        if error.slug != "not-found":
            raise
        # The task has not begun, or its pod and log are gone.
        return ""
