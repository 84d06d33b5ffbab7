"""One connection for everybody who waits in this process.

Each waiter has a ``HubSource`` at a hub; what a hub does is in ``bridge.provider.following``. There is
one hub per event loop and connection; it begins with its first waiter and is closed by the last one
that leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from uuid import UUID
from weakref import WeakKeyDictionary

from bridge.client.errors import BridgeUnreachable, ProblemError
from bridge.client.models import Problem, RunModel, TaskModel
from bridge.client.status import StatusModel
from bridge.provider.following import Connects, Followed, Hub, Reread, Tempo

USUAL_TEMPO = Tempo()


class HubSource:
    """One waiter's place at the hub of its event loop and connection; a ``RunSource``.

    Use it as an ``async with`` block. ``reread`` gives the connection's settings anew, for a token
    that was changed while the hub is at work.
    """

    def __init__(
        self, settings: Connects, *, reread: Reread | None = None, tempo: Tempo | None = None
    ) -> None:
        self._settings = settings
        self._reread = reread
        self._tempo = tempo or USUAL_TEMPO
        self._joined: Hub | None = None
        self._followed: dict[str, Followed] = {}
        # Answers counted when trouble was last raised: what is known from before is not news then.
        self._missed: dict[str, int] = {}
        # What of a run was told when its tasks were read last, and the tasks; and which change of them a
        # reading was last begun for, since one that failed must not be repeated without a pause.
        self._listed: dict[str, tuple[tuple[int | None, int], list[TaskModel]]] = {}
        self._looked_for: dict[str, int] = {}

    async def __aenter__(self) -> HubSource:
        self._joined = _join(self._settings, self._reread, self._tempo)
        return self

    async def __aexit__(self, *_: object) -> None:
        hub, self._joined = self._hub, None
        for followed in self._followed.values():
            hub.unfollow(followed)
        self._followed.clear()
        await _leave(hub)

    @property
    def _hub(self) -> Hub:
        if self._joined is None:
            raise RuntimeError("a HubSource is used inside its async with block only")
        return self._joined

    async def get_run(
        self, run_id: UUID | str, *, wait_seconds: float | None = None, version: int | None = None
    ) -> RunModel:
        """The run as the bridge tells it now; with ``wait_seconds`` once its version is another one, or
        as it was when its tasks have changed or the time is over. Raises the ``BridgeError`` that keeps
        the hub from asking, once per call, and afterwards returns as soon as the bridge has told of the
        run again."""
        hub, followed = self._hub, self._follow(str(run_id))
        known = self._missed.get(str(run_id))
        if known is None and not wait_seconds:
            known = followed.answers
            hub.want(followed)
        try:
            async with asyncio.timeout(wait_seconds):
                run = await self._next(hub, followed, known, version)
        except TimeoutError:
            if followed.run is None or known is not None:
                raise BridgeUnreachable(
                    f"the bridge at {hub.url} told nothing of the run for {wait_seconds} s",
                    url=hub.url,
                    sent=True,
                ) from None
            return followed.run
        self._missed.pop(str(run_id), None)
        return run

    async def tasks(self, run_id: UUID | str) -> list[TaskModel]:
        """The run's tasks, read again only if the bridge told of a change since; only so many lists are
        read at once. Raises ``BridgeError``."""
        followed = self._follow(str(run_id))
        told = _told_of(followed)
        known = self._listed.get(str(run_id))
        if known is not None and known[0] == told and self._hub.listens:
            return known[1]
        self._looked_for[str(run_id)] = followed.mirrored
        tasks = await self._hub.tasks(run_id)
        self._listed[str(run_id)] = (told, tasks)
        return tasks

    async def status(self) -> StatusModel:
        """The bridge's status; callers share an answer of the last second. Raises ``BridgeError``."""
        return await self._hub.status()

    async def _next(self, hub: Hub, followed: Followed, known: int | None, version: int | None) -> RunModel:
        while True:
            news = followed.news
            if hub.trouble is not None:
                self._missed[str(followed.run_id)] = followed.answers
                # One error is raised to everybody; their tracebacks must not pile up in it.
                raise hub.trouble.with_traceback(None)
            if followed.gone is not None:
                raise followed.gone.with_traceback(None)
            if followed.run is not None:
                fresh = followed.run.version != version if known is None else followed.answers > known
                if fresh or (known is None and self._has_unread_tasks(followed)):
                    return followed.run
            await news.wait()

    def _has_unread_tasks(self, followed: Followed) -> bool:
        """Whether the bridge told of changed tasks since somebody began to read them."""
        return followed.mirrored > self._looked_for.get(str(followed.run_id), 0)

    def _follow(self, run_id: str) -> Followed:
        if run_id not in self._followed:
            try:
                self._followed[run_id] = self._hub.follow(UUID(run_id))
            except ValueError:
                raise _unknown(run_id) from None
        return self._followed[run_id]


# Ids of loops are used again after they are gone; a loop that is gone takes its hubs along.
_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Hub]] = WeakKeyDictionary()


def _join(settings: Connects, reread: Reread | None, tempo: Tempo) -> Hub:
    hubs = _hubs.setdefault(asyncio.get_running_loop(), {})
    hub = hubs.get(settings.connection)
    if hub is None:
        hub = hubs[settings.connection] = Hub(settings, reread=reread, tempo=tempo)
    hub.sources += 1
    return hub


async def _leave(hub: Hub) -> None:
    hub.sources -= 1
    if hub.sources == 0:
        # Whoever comes from now on makes a hub of its own.
        del _hubs[asyncio.get_running_loop()][hub.key]
        await hub.close()


def _told_of(followed: Followed) -> tuple[int | None, int]:
    return (followed.run.version if followed.run else None, followed.mirrored)


def _unknown(run_id: str) -> ProblemError:
    detail = f"there is no run {run_id}"
    return ProblemError(
        Problem(type="urn:kfbridge:problem:not-found", title="not-found", status=404, detail=detail)
    )
