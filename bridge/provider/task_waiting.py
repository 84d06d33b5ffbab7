"""Waiting for one task of a run; all who wait for tasks of one run in one process share what they ask.

The bridge's version of a run changes with the run, not with each of its tasks. So a watch looks at the
tasks at every change of the run and in between: once a second at most, every ``LONGEST_INTERVAL_SECONDS``
at least, however many wait. In a triggerer its source is the hub, which hears when tasks have changed, ends
the watch's pause then, and asks the bridge at no other time. Failures that may pass are borne as
``bridge.provider.waiting`` bears them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

from bridge.client.errors import BridgeError
from bridge.client.models import RunModel
from bridge.provider.taskgroup_verdict import Judged, RunTasks, Verdict, Wanted, judge
from bridge.provider.waiting import Outage, Progress, RunSource, Tell, may_pass

SHORTEST_INTERVAL_SECONDS = 1.0
LONGEST_INTERVAL_SECONDS = 10.0

OpenSource = Callable[[], AbstractAsyncContextManager[RunSource]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWaited:
    """How waiting ended: ``judged`` (``judgement`` tells how), else as in ``waiting.Waited``."""

    ending: Literal["judged", "timeout", "away", "gone"]
    judgement: Judged | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run, and its tasks asked for after it."""

    run: RunModel
    tasks: RunTasks


class _Watch:
    """One run, asked about by one asyncio task for all who follow it."""

    def __init__(self, open_source: OpenSource, run_id: str, patience_seconds: float) -> None:
        self._open_source = open_source
        self._run_id = run_id
        self._outage = Outage(patience_seconds, self._tell)
        self._news = asyncio.Condition()
        self._number = 0
        self._failure: Exception | None = None
        self.followers: list[Tell] = []
        self.snapshot: Snapshot | None = None
        self.ended: TaskWaited | None = None
        self.asking: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.asking = asyncio.create_task(self._ask(), name=f"tasks of run {self._run_id}")

    async def after(self, number: int) -> int:
        """Waits for news later than ``number``; its number. Raises what ended the asking unforeseen."""
        async with self._news:
            await self._news.wait_for(lambda: self._number > number)
        if self._failure is not None:
            raise self._failure
        return self._number

    async def _ask(self) -> None:
        try:
            async with self._open_source() as source:
                self.ended = await self._ask_on(source)
        except Exception as error:
            # Everybody who follows raises it; nobody awaits this task itself.
            self._failure = error
        await self._publish()

    async def _ask_on(self, source: RunSource) -> TaskWaited:
        interval = SHORTEST_INTERVAL_SECONDS
        version: int | None = None
        while True:
            asked_at = time.monotonic()
            try:
                run = await source.get_run(
                    self._run_id, wait_seconds=None if version is None else interval, version=version
                )
                if version is not None:
                    # The run may change many times a second, and one that is over is answered at once.
                    await asyncio.sleep(asked_at + SHORTEST_INTERVAL_SECONDS - time.monotonic())
                snapshot = Snapshot(run, RunTasks(await source.tasks(self._run_id)))
                self._outage.over()
            except BridgeError as error:
                if not may_pass(error):
                    return TaskWaited(ending="gone", message=str(error))
                pause = self._outage.pause_after(error)
                if pause is None:
                    return TaskWaited(ending="away", message=str(error))
                await asyncio.sleep(pause)
                continue
            version = run.version
            if self.snapshot is None or _differ(self.snapshot, snapshot):
                interval = SHORTEST_INTERVAL_SECONDS
                self.snapshot = snapshot
                await self._publish()
            else:
                interval = min(interval * 1.5, LONGEST_INTERVAL_SECONDS)

    async def _publish(self) -> None:
        async with self._news:
            self._number += 1
            self._news.notify_all()

    def _tell(self, line: str) -> None:
        for tell in self.followers:
            tell(line)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, _Watch]] = WeakKeyDictionary()


async def wait_for_task(
    open_source: OpenSource,
    run_id: str,
    wanted: Wanted,
    *,
    shared_by: Hashable,
    patience_seconds: float,
    deadline: float | None = None,
    at_least_version: int = 0,
    tell: Tell,
) -> TaskWaited:
    """Waits until the task's end is known, the deadline (seconds since the epoch) passes or patience ends.

    ``shared_by`` names the bridge: whoever waits for the same run of it on the same event loop, with
    the same patience, shares one source. What is older than ``at_least_version`` of the run is not
    looked at.
    """
    sharing = _shared((shared_by, run_id, patience_seconds), open_source, run_id, tell)
    waiting = _wait(sharing, wanted, at_least_version, tell)
    if deadline is None:
        return await waiting
    try:
        async with asyncio.timeout(max(0.0, deadline - time.time())):
            return await waiting
    except TimeoutError:
        return TaskWaited(ending="timeout", message="the time for the task is up")


async def _wait(
    sharing: AbstractAsyncContextManager[_Watch], wanted: Wanted, at_least_version: int, tell: Tell
) -> TaskWaited:
    progress = Progress(tell)
    number = 0
    async with sharing as watch:
        while True:
            snapshot = watch.snapshot
            if snapshot is not None and snapshot.run.version >= at_least_version:
                progress.tasks_changed(snapshot.tasks.of(wanted))
                judged = judge(snapshot.run, snapshot.tasks, wanted)
                if judged.verdict is not Verdict.WAIT:
                    return TaskWaited(ending="judged", judgement=judged)
            if watch.ended is not None:
                return watch.ended
            number = await watch.after(number)


@asynccontextmanager
async def _shared(
    key: tuple[Hashable, str, float], open_source: OpenSource, run_id: str, tell: Tell
) -> AsyncIterator[_Watch]:
    """The watch that everybody with this key shares; it ends when the last one leaves."""
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    watch = watches.get(key)
    if watch is None or watch.asking is None or watch.asking.done():
        watch = watches[key] = _Watch(open_source, run_id, key[2])
        watch.start()
    watch.followers.append(tell)
    try:
        yield watch
    finally:
        watch.followers.remove(tell)
        if not watch.followers:
            if watches.get(key) is watch:
                del watches[key]
            asking = watch.asking
            assert asking is not None
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({asking})


def _differ(before: Snapshot, now: Snapshot) -> bool:
    return before.run.version != now.run.version or before.tasks.states != now.tasks.states
