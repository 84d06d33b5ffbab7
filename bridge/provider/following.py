"""What a hub does: it listens to the bridge's event stream and asks for states in batches.

Events only say which runs to ask for, so a lost one costs time and never an end: all runs that are
waited for are asked for whenever the stream stands anew, every few seconds while there is none, and
now and then in any case.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import AsyncExitStack
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import httpx

from bridge.client import calls
from bridge.client.api import AsyncBridgeClient
from bridge.client.errors import (
    BridgeBadAnswer,
    BridgeError,
    BridgeUnauthorized,
    ProblemError,
)
from bridge.client.models import RunModel, TaskModel
from bridge.client.network import Network
from bridge.client.sse import EventFeed
from bridge.client.status import StatusModel
from bridge.client.wire import error_from

log = logging.getLogger(__name__)

# What GET /runs takes at most.
BATCH = 200
# How many lists of tasks are read at once; they are only told in logs.
_LISTS_AT_ONCE = 8
_STATUS_SECONDS = 1.0
_SHORTEST_PAUSE_SECONDS = 0.1


class Connects(Protocol):
    """What a hub needs of a connection's settings."""

    @property
    def connection(self) -> Hashable: ...

    @property
    def url(self) -> str: ...

    def async_network(self) -> Network: ...


Reread = Callable[[], Awaitable[Connects]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """A hub's pace, in seconds.

    ``gather``       wishes that come within this time are asked for together.
    ``first_stream`` how long the first question waits for the event stream to stand.
    ``silence``      a stream that sends nothing for so long is broken; three of the bridge's heartbeats.
    ``poll``         between questions for all runs while there is no stream.
    ``recheck``      between questions for all runs while there is one.
    ``backoff``      the longest pause after a failure.
    ``no_stream``    the longest pause before looking for a stream again where there was none.
    """

    gather: float = 0.1
    first_stream: float = 5.0
    silence: float = 45.0
    poll: float = 5.0
    recheck: float = 60.0
    backoff: float = 15.0
    no_stream: float = 60.0


@dataclass(slots=True, eq=False)
class Followed:
    """A run that somebody waits for. ``answers`` counts how often the bridge told of it, ``mirrored`` how
    often it told that its tasks had changed, which leaves the run's own version as it is."""

    run_id: UUID
    waiters: int = 0
    answers: int = 0
    mirrored: int = 0
    run: RunModel | None = None
    gone: ProblemError | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def answered(self, run: RunModel | None, gone: ProblemError | None = None) -> None:
        """The bridge told of the run, or that it does not know it."""
        self.answers += 1
        self.run, self.gone = run or self.run, gone
        self.wake()

    def wake(self) -> None:
        """Let every waiter look again."""
        self.news.set()
        self.news = asyncio.Event()


class Hub:
    """See the module. ``trouble`` is what keeps the hub from asking at the moment."""

    def __init__(
        self,
        settings: Connects,
        *,
        reread: Reread | None,
        tempo: Tempo,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.key = settings.connection
        self.url = settings.url
        self.sources = 0
        self.trouble: BridgeError | None = None
        self._settings = settings
        self._reread = reread
        self._tempo = tempo
        self._jitter = jitter
        self._loop = asyncio.get_running_loop()
        self._open(settings)
        self._feed = EventFeed(None)
        self._followed: dict[UUID, Followed] = {}
        # A dict for its order: nobody is asked for twice before everybody was asked for once.
        self._wanted: dict[UUID, None] = {}
        self._bell = asyncio.Event()
        self._back = asyncio.Event()
        self._tried = asyncio.Event()
        self._stands = False
        self._everything_at = self._loop.time() + tempo.poll
        self._lists = asyncio.Semaphore(_LISTS_AT_ONCE)
        self._status: asyncio.Task[StatusModel] | None = None
        self._status_at = 0.0
        self._work: list[asyncio.Task[Any]] = []

    @property
    def listens(self) -> bool:
        """Whether the event stream stands, so that no change goes by unheard."""
        return self._stands

    def follow(self, run_id: UUID) -> Followed:
        """Begin to follow a run, for one more waiter."""
        followed = self._followed.setdefault(run_id, Followed(run_id))
        followed.waiters += 1
        if not self._work:
            self._work = [self._start(self._keep(work)) for work in (self._listen, self._ask)]
        return followed

    def unfollow(self, followed: Followed) -> None:
        """One waiter less; a run without any is followed no longer."""
        followed.waiters -= 1
        if followed.waiters == 0:
            self._followed.pop(followed.run_id, None)
            self._wanted.pop(followed.run_id, None)

    def want(self, followed: Followed) -> None:
        """Ask for this run soon."""
        self._wanted[followed.run_id] = None
        self._bell.set()

    async def tasks(self, run_id: UUID | str) -> list[TaskModel]:
        """See ``HubSource``."""
        async with self._lists:
            return await self._client.tasks(run_id)

    async def status(self) -> StatusModel:
        """See ``HubSource``."""
        now = self._loop.time()
        if self._status is None or (self._status.done() and now - self._status_at > _STATUS_SECONDS):
            self._status = self._start(self._client.status())
            # Whoever asked may be gone when it fails.
            self._status.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._status_at = now
        return await asyncio.shield(self._status)

    async def close(self) -> None:
        """End the hub's tasks and its connections."""
        tasks: list[asyncio.Task[Any]] = [*self._work, *([self._status] if self._status else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    def _open(self, settings: Connects) -> None:
        self._network = settings.async_network()
        self._client = AsyncBridgeClient(settings.url, patience_seconds=0, network=self._network)

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        # A context of its own: Airflow routes log lines by it, and a hub outlives its first trigger.
        return self._loop.create_task(work, context=Context(), name=f"hub of {self.url}")

    async def _keep(self, work: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while True:
            try:
                await work()
            except Exception as error:
                # Everybody waits for this task: it may stumble, but never end, and patience has to count.
                log.exception("Waiting for runs at %s begins anew", self.url)
                self._in_trouble(BridgeBadAnswer(f"waiting for runs at {self.url} stumbled: {error!r}"))
            failures += 1
            await asyncio.sleep(self._pause(failures))

    # Asking

    async def _ask(self) -> None:
        # Subscribed first, asked then: what changes in between is told by an event.
        await _rung(self._tried, self._tempo.first_stream)
        failures = 0
        while True:
            if not self._wanted:
                await _rung(self._bell, max(0.0, self._everything_at - self._loop.time()))
            self._bell.clear()
            if self._loop.time() >= self._everything_at:
                self._everything()
            if not self._wanted:
                continue
            await asyncio.sleep(self._tempo.gather)
            self._back.clear()
            ids = list(self._wanted)[:BATCH]
            try:
                await self._ask_for(ids)
            except (BridgeError, httpx.HTTPError) as failure:
                error = _of_a_batch(failure)
                failures += 1
                self._in_trouble(error)
                if isinstance(error, BridgeUnauthorized):
                    await self._read_settings_anew()
                # A stream that stands again says that the bridge is back.
                await _rung(self._back, max(self._pause(failures), _asked_pause(error)))
            else:
                failures = 0

    async def _ask_for(self, ids: list[UUID]) -> None:
        for run_id in ids:
            # Before the question: an event that comes while it is on its way asks again.
            self._wanted.pop(run_id, None)
        page = await self._client.list_runs(ids=",".join(run_id.hex for run_id in ids), limit=BATCH)
        found = {run.run_id: run for run in page.items}
        absent = [run_id for run_id in ids if run_id in self._followed and run_id not in found]
        answers: dict[UUID, RunModel | ProblemError] = {**found}
        for run_id in absent:
            # A task fails by this answer, so the run is asked for by its name.
            answers[run_id] = await self._one(run_id)
        if self.trouble is not None:
            log.info("The bridge at %s answers again", self.url)
            self.trouble = None
        for run_id, answer in answers.items():
            if (followed := self._followed.get(run_id)) is not None:
                gone = answer if isinstance(answer, ProblemError) else None
                followed.answered(None if isinstance(answer, ProblemError) else answer, gone)

    async def _one(self, run_id: UUID) -> RunModel | ProblemError:
        try:
            return await self._client.get_run(run_id)
        except ProblemError as error:
            if error.slug == "not-found":
                return error
            raise

    def _everything(self) -> None:
        self._wanted |= dict.fromkeys(self._followed)
        pace = self._tempo.recheck if self._stands else self._tempo.poll
        self._everything_at = self._loop.time() + pace * self._jitter(0.8, 1.2)
        self._bell.set()

    def _everything_within(self, seconds: float) -> None:
        self._everything_at = min(self._everything_at, self._loop.time() + seconds)
        self._bell.set()

    def _in_trouble(self, error: BridgeError) -> None:
        if self.trouble is None:
            log.warning("The bridge at %s cannot be asked: %s", self.url, error)
        self.trouble = error
        self._everything()
        for followed in self._followed.values():
            followed.wake()

    async def _read_settings_anew(self) -> None:
        if self._reread is None:
            return
        try:
            settings = await self._reread()
        except Exception as error:
            log.warning("Airflow does not tell the connection's settings: %r", error)
            return
        if settings.connection != self._settings.connection:
            before, self._settings = self._client, settings
            self._open(settings)
            await before.close()

    # Listening

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                await self._read_stream()
                told = "the bridge ended it"
            except (BridgeError, httpx.HTTPError) as error:
                told = str(error)
                missing = not self._stands and _is_no_stream(error)
            else:
                missing = False
            failures = 1 if self._stands else failures + 1
            if failures == 1 or missing:
                log.info("The event stream of %s is not there: %s", self.url, told)
            self._stands = False
            self._feed.reconnected()
            self._tried.set()
            self._everything_within(self._tempo.poll)
            pause = self._tempo.no_stream * self._jitter(0.5, 1.0) if missing else self._pause(failures)
            await asyncio.sleep(pause)

    async def _read_stream(self) -> None:
        """One connection until it ends. Raises ``BridgeError`` when it breaks or is none."""
        network = self._network
        try:
            async with asyncio.timeout(self._tempo.silence) as limit, AsyncExitStack() as stack:
                response = await network.send(calls.events(self._feed.last_id), stream=True)
                stack.push_async_callback(network.release, response)
                await _check_stream(network, response)
                lines = network.lines(response)
                stack.push_async_callback(_close, lines)
                async for line in lines:
                    limit.reschedule(self._loop.time() + self._tempo.silence)
                    self._hear(line)
        except TimeoutError:
            raise BridgeBadAnswer(
                f"the event stream of {self.url} is silent for {self._tempo.silence:g} s: "
                "does a proxy hold it back?"
            ) from None

    def _hear(self, line: str) -> None:
        if not self._stands:
            self._stands = True
            self._tried.set()
            self._back.set()
            self._everything()
        try:
            event = self._feed.feed(line)
        except BridgeBadAnswer as error:
            # It may have told of anything.
            log.warning("%s", error)
            self._everything_within(self._tempo.poll)
            return
        followed = None if event is None or event.run_id is None else self._followed.get(event.run_id)
        if event is None or followed is None:
            return
        if event.type == "run.mirrored":
            followed.mirrored += 1
            followed.wake()
            return
        version = event.data.get("version")
        if isinstance(version, int) and followed.run is not None and version <= followed.run.version:
            return
        self.want(followed)

    def _pause(self, failures: int) -> float:
        # Full jitter: the hubs of many triggerers must not come back at once.
        ceiling = min(self._tempo.backoff, 0.5 * 2.0 ** min(failures, 10))
        return self._jitter(min(_SHORTEST_PAUSE_SECONDS, ceiling), ceiling)


async def _rung(bell: asyncio.Event, seconds: float) -> bool:
    """Whether the bell is rung within the time. It stays rung."""
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        return False
    return True


async def _close(lines: AsyncIterator[str]) -> None:
    if isinstance(lines, AsyncGenerator):
        await lines.aclose()


async def _check_stream(network: Network, response: httpx.Response) -> None:
    kind = response.headers.get("content-type", "no content type")
    if not response.is_success:
        await network.read(response)
    elif kind.startswith("text/event-stream"):
        return
    raise error_from(response) or BridgeBadAnswer(
        f"HTTP {response.status_code} with {kind} is no event stream"
    )


def _is_no_stream(error: Exception) -> bool:
    """Whether trying again soon is of no use: what answers has no event stream, or holds it back."""
    return isinstance(error, BridgeBadAnswer) or (isinstance(error, ProblemError) and not error.transient)


def _of_a_batch(error: BridgeError | httpx.HTTPError) -> BridgeError:
    """The error as one that may pass: what an answer says of a batch says nothing of a single run."""
    final = isinstance(error, ProblemError) and not error.transient
    return error if isinstance(error, BridgeError) and not final else BridgeBadAnswer(str(error))


def _asked_pause(error: BridgeError) -> float:
    return min(error.retry_after_seconds or 0.0, 30.0)
