"""The one way to wait for a run, shared by the trigger and by the blocking path.

It asks a source for the run's next version, tells what changes, never ends because of a failure that
may pass within the caller's patience, and never blocks the event loop. A worker's source is a client
that long-polls; triggers share a hub (``bridge.provider.hub``).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol
from uuid import UUID

from bridge.client.errors import BridgeError, BridgeUnauthorized, ProblemError

if TYPE_CHECKING:
    from bridge.client.models import RunModel, TaskModel
    from bridge.client.status import StatusModel

LONG_POLL_SECONDS = 30.0
# When a run that is seen first is looked at again, and its tasks with it: they may all be known already.
SECOND_LOOK_SECONDS = 3.0
LONGEST_PAUSE_SECONDS = 30.0
# A run of thousands of tasks must not flood the log of the Airflow task that waits for it.
MAX_LINES_PER_CHANGE = 50
# Telling what the tasks do is for the log alone and must not hold up the run's end.
TELLING_SECONDS = 3.0

Ending = Literal["over", "timeout", "away", "gone"]


class RunSource(Protocol):
    """What waiting needs of the bridge; ``AsyncBridgeClient`` and ``HubSource`` are such."""

    async def get_run(
        self, run_id: UUID | str, *, wait_seconds: float | None = None, version: int | None = None
    ) -> RunModel: ...

    async def tasks(self, run_id: UUID | str) -> list[TaskModel]: ...

    async def status(self) -> StatusModel: ...


Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """How waiting ended.

    ``over``     the run is over; ``run`` is how it ended.
    ``timeout``  the deadline passed first.
    ``away``     the bridge could not be asked for longer than the patience.
    ``gone``     the bridge does not know the run (any more).
    """

    ending: Ending
    run: RunModel | None = None
    message: str = ""


@dataclass(slots=True)
class Outage:
    """One stretch of time in which the bridge does not answer, and how long that is borne."""

    patience_seconds: float
    tell: Tell
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[float, float], float] = random.uniform
    since: float | None = None
    failures: int = 0

    def pause_after(self, error: BridgeError) -> float | None:
        """Seconds to wait before asking again; ``None`` when patience is at its end."""
        now = self.clock()
        if self.since is None:
            self.since = now
            self.tell(
                f"The bridge cannot be asked: {error}. Waiting for it, up to {self.patience_seconds:g} s."
            )
        self.failures += 1
        if now - self.since >= self.patience_seconds:
            return None
        # Full jitter: when the bridge comes back, hundreds of waiters must not come at once.
        ceiling = min(LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** min(self.failures, 10))
        pause = max(self.jitter(0.1, ceiling), error.retry_after_seconds or 0.0)
        return min(pause, max(0.1, self.since + self.patience_seconds - now))

    def over(self) -> None:
        """The bridge answered."""
        if self.since is not None:
            self.tell(f"The bridge answers again after {self.clock() - self.since:.0f} s.")
        self.since = None
        self.failures = 0


@dataclass(slots=True)
class Progress:
    """Tells each change of a run's and its tasks' states once."""

    tell: Tell
    _run_word: str | None = None
    _tasks: dict[str, str] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set)

    def run_changed(self, run: RunModel) -> None:
        """Tells the run's state if it is news, and each warning once."""
        word = run.state if run.stale_since is None else f"{run.state} (the backend does not answer)"
        if word != self._run_word:
            self.tell(f"KFP run {run.kfp_run_id} of {run.pipeline.name}: {word}")
            self._run_word = word
        for warning in run.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self.tell(f"The bridge warns: {warning}")

    def tasks_changed(self, tasks: list[TaskModel]) -> None:
        """Tells which tasks are in another state than before."""
        lines = []
        for task in tasks:
            if task.path and self._tasks.get(task.task_id) != task.state:
                self._tasks[task.task_id] = task.state
                lines.append(f"  {task.path}: {task.state}{' (cached)' if task.cached else ''}")
        for line in lines[:MAX_LINES_PER_CHANGE]:
            self.tell(line)
        if len(lines) > MAX_LINES_PER_CHANGE:
            self.tell(f"  … and {len(lines) - MAX_LINES_PER_CHANGE} more tasks changed")


def may_pass(error: BridgeError) -> bool:
    """Whether a failure may pass without anybody changing the request.

    A refused token counts: tokens are rotated on one side before the other. So does a name that the
    bridge is not known under, which its settings change, and a fault of the bridge: neither says
    anything about the run.
    """
    if error.transient or isinstance(error, BridgeUnauthorized) or not isinstance(error, ProblemError):
        return True
    return error.status >= 500 or error.slug == "unknown-host"


async def wait_for_run(
    source: RunSource,
    run_id: str,
    *,
    patience_seconds: float,
    deadline: float | None = None,
    tell: Tell,
    wall_clock: Callable[[], float] = time.time,
) -> Waited:
    """Waits until the run is over, the deadline (seconds since the epoch) passes or patience ends."""
    waiting = _wait(source, run_id, Outage(patience_seconds, tell), Progress(tell))
    if deadline is None:
        return await waiting
    try:
        async with asyncio.timeout(max(0.0, deadline - wall_clock())):
            return await waiting
    except TimeoutError:
        return Waited(ending="timeout", message="the time for the run is up")


async def wait_for_bridge(source: RunSource, *, patience_seconds: float, tell: Tell) -> Waited:
    """Waits until the bridge answers at all; ``over`` when it does."""
    outage = Outage(patience_seconds, tell)
    while True:
        try:
            await source.status()
        except BridgeError as error:
            pause = outage.pause_after(error)
            if pause is None:
                return Waited(ending="away", message=str(error))
            await asyncio.sleep(pause)
        else:
            outage.over()
            return Waited(ending="over")


async def _wait(source: RunSource, run_id: str, outage: Outage, progress: Progress) -> Waited:
    version: int | None = None
    pause: float | None = None
    while True:
        try:
            run = await source.get_run(run_id, wait_seconds=pause, version=version)
            outage.over()
            if run.version != version:
                progress.run_changed(run)
            # Not of a run that is seen first: hundreds may begin to wait at once. Later the tasks may have
            # changed and the run not: its version does not tell.
            if version is not None or run.over:
                await _tell_tasks(source, run_id, progress)
        except BridgeError as error:
            if not may_pass(error):
                return Waited(ending="gone", message=str(error))
            sleep = outage.pause_after(error)
            if sleep is None:
                return Waited(ending="away", message=str(error))
            await asyncio.sleep(sleep)
            continue
        if run.over:
            return Waited(ending="over", run=run)
        pause = SECOND_LOOK_SECONDS if version is None else LONG_POLL_SECONDS
        version = run.version


async def _tell_tasks(source: RunSource, run_id: str, progress: Progress) -> None:
    try:
        async with asyncio.timeout(TELLING_SECONDS):
            progress.tasks_changed(await source.tasks(run_id))
    except (BridgeError, TimeoutError) as error:
        progress.tell(f"What the tasks do could not be read this time: {str(error) or 'it took too long'}")
