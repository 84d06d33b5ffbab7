"""Waiting for a run at a terminal: progress, the end, an interruption."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from bridge.commands.connection import open_client
from bridge.commands.failures import (
    CANCELED,
    FAILED,
    INTERRUPTED,
    SUCCEEDED,
    TIMEOUT,
    CommandError,
    explain_bridge_error,
)
from bridge.commands.progress import TERMINAL_STATES, Progress, progress
from bridge.commands.render import short_id

if TYPE_CHECKING:
    from bridge.client.models import RunModel
    from bridge.client.sync import BridgeClient
    from bridge.commands.console import Console

_LIVE_POLL_SECONDS = 1.0
_PLAIN_POLL_SECONDS = 5.0
_NOT_SENT = frozenset({"QUEUED", "SUBMITTING", "REJECTED"})


def exit_code_of(state: str) -> int:
    """The exit code that tells how a run ended."""
    if state in ("SUCCEEDED", "SKIPPED"):
        return SUCCEEDED
    return CANCELED if state == "CANCELED" else FAILED


def wait_and_report(run: RunModel, args: argparse.Namespace, console: Console) -> int:
    """Show the run until it is over and tell how it ended; the exit code tells it too."""
    from bridge.client.errors import BridgeError, RunTimeout

    with open_client(args, console, waiting=True) as client:
        waiting = _Waiting(client, run, args, console)
        try:
            with _terminated_as_interrupted(), progress(console, quiet=args.json) as shown:
                waiting.follow(shown)
            return waiting.report()
        except KeyboardInterrupt:
            return waiting.interrupted()
        except RunTimeout as error:
            short = short_id(waiting.run.run_id)
            raise CommandError(
                f"{error}",
                to_do=f"wait longer with --timeout, see it with 'kfbridge show {short}', or stop it with "
                f"'kfbridge cancel {short}'.",
                exit_code=TIMEOUT,
            ) from error
        except BridgeError as error:
            explained = explain_bridge_error(error, f"waiting for run {waiting.run.run_id}")
            explained.details = (*explained.details, "The run itself goes on.")
            raise explained from error


class _Waiting:
    """One run that is waited for; ``run`` is how it was seen last (a later attempt, if there was one)."""

    def __init__(
        self, client: BridgeClient, run: RunModel, args: argparse.Namespace, console: Console
    ) -> None:
        self.run = run
        self._client = client
        self._args = args
        self._console = console
        self._told = set(run.warnings)

    def follow(self, shown: Progress) -> None:
        page = self.run.links.bridge
        shown.say(f"run {self.run.run_id}" + (f"  {page}" if page else ""))
        following = self._client.follow_run(
            self.run.run_id,
            timeout_seconds=self._args.timeout,
            poll_seconds=_LIVE_POLL_SECONDS if self._console.is_live else _PLAIN_POLL_SECONDS,
        )
        for run in following:
            self.run = run
            begun = not self._args.json and run.phase not in _NOT_SENT
            tasks = self._client.tasks(run.run_id) if begun else []
            away = "  (the backend does not answer)" if run.stale_since else ""
            # The bridge still reads tasks and metrics of a run that has ended but is not over.
            state = "RUNNING" if run.state in TERMINAL_STATES and not run.over else run.state
            for warning in run.warnings:
                if warning not in self._told:
                    self._told.add(warning)
                    shown.say(f"warning: {warning}")
            shown.show(f"{run.display_name}{away}", state, tasks)

    def report(self) -> int:
        from bridge.client.reference import build_reference
        from bridge.commands.show import summary_lines

        client, run = self._client, self.run
        code = exit_code_of(run.state)
        if code == SUCCEEDED and self._args.require_gate and not run.good:
            code = FAILED
        tasks, metrics = client.tasks(run.run_id), client.metrics(run.run_id)
        artifacts = client.artifacts(run.run_id)
        if self._args.json:
            reference = build_reference(run, tasks, artifacts, metrics)
            extra = {name: reference[name] for name in ("outputs", "metrics", "artifacts")}
            self._console.result_json({**run.model_dump(mode="json"), **extra})
        else:
            lines = summary_lines(run, tasks, metrics, artifacts, self._console)
            self._console.result("\n".join(lines))
        return code

    def interrupted(self) -> int:
        from bridge.client.errors import BridgeError

        run_id = self.run.run_id
        if not self._args.cancel_on_interrupt:
            self._console.note(
                f"interrupted; the run goes on. See it with 'kfbridge show {short_id(run_id)}', "
                f"stop it with 'kfbridge cancel {short_id(run_id)}'."
            )
            return INTERRUPTED
        try:
            self._client.cancel(run_id, reason="the command that waited for it was interrupted")
        except BridgeError as error:
            raise explain_bridge_error(error, f"canceling run {run_id}") from error
        self._console.note(f"interrupted; run {run_id} is being canceled.")
        return INTERRUPTED


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Schedulers stop a job with SIGTERM: let it mean what Ctrl-C means."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before: Any = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        # Not the main thread, where no signal arrives.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
