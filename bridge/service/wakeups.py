"""Telling waiters inside this process that something changed, so that they need not ask the database."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID


class Bell:
    """Rung when there may be work; whoever waits wakes at once. Rings are merged, never counted."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or at its next wait."""
        self._event.set()

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for a ring, for at most so long; whether there was one."""
        # Not wait_for: before Python 3.12 it can swallow a cancellation that comes with the ring.
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class RunChanges:
    """The newest known version of the runs that somebody waits for.

    Workers of this process announce changes at once; ``Watcher`` adds those of other processes.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._versions: dict[UUID, int] = {}
        self._stopped = False

    def stop(self) -> None:
        """Let every waiter go, now and from now on."""
        self._stopped = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    @property
    def watched(self) -> tuple[UUID, ...]:
        """The runs that somebody waits for at this moment."""
        return tuple(self._waiting)

    def announce(self, run_id: UUID, version: int) -> None:
        """Tell whoever waits for the run that it has this version now."""
        if run_id in self._waiting and version > self._versions.get(run_id, 0):
            self._versions[run_id] = version
            for event in self._waiting[run_id]:
                event.set()

    def known_version(self, run_id: UUID) -> int:
        """The newest version announced while somebody waited; 0 if none was."""
        return self._versions.get(run_id, 0)

    async def wait(self, run_id: UUID, version: int, timeout_seconds: float) -> bool:
        """Wait until a version above the given one is announced; whether that happened in time."""
        event = asyncio.Event()
        self._waiting[run_id].add(event)
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._versions.get(run_id, 0) <= version and not self._stopped:
                    await event.wait()
                    event.clear()
        except TimeoutError:
            return False
        finally:
            self._waiting[run_id].discard(event)
            if not self._waiting[run_id]:
                del self._waiting[run_id]
                self._versions.pop(run_id, None)
        return not self._stopped


class Wakeups:
    """All the bells of one service process."""

    def __init__(self) -> None:
        self.sequencer = Bell()
        self.deliver = Bell()
        self.runs = RunChanges()
        self._bells: dict[tuple[str, str], Bell] = {}
        self._numbered: set[Bell] = set()

    def submit(self, backend: str) -> Bell:
        """The bell of the worker that sends one backend's runs."""
        return self._bell("submit", backend)

    def cancel(self, backend: str) -> Bell:
        """The bell of the worker that stops one backend's runs."""
        return self._bell("cancel", backend)

    def track(self, backend: str) -> Bell:
        """The bell of one backend's tracker."""
        return self._bell("track", backend)

    def mirror(self, backend: str) -> Bell:
        """The bell of the worker that mirrors one backend's runs."""
        return self._bell("mirror", backend)

    def emit(self, backend: str) -> Bell:
        """The bell of the worker that tells the OpenLineage consumer of one backend's runs."""
        return self._bell("emit", backend)

    def _bell(self, worker: str, backend: str) -> Bell:
        return self._bells.setdefault((worker, backend), Bell())

    def changed(self, changes: Iterable[tuple[UUID, int]]) -> None:
        """Announce runs with their new versions, after the transaction that changed them."""
        for run_id, version in changes:
            self.runs.announce(run_id, version)
        self.sequencer.ring()

    def numbered(self) -> None:
        """Tell event streams and webhooks that the sequencer numbered new events."""
        self.deliver.ring()
        for bell in self._numbered:
            bell.ring()

    @contextmanager
    def listening(self) -> Iterator[Bell]:
        """A bell that is rung when this process has numbered new events, also while nobody waits."""
        bell = Bell()
        self._numbered.add(bell)
        try:
            yield bell
        finally:
            self._numbered.discard(bell)
