"""The bridge's API for programs that run an event loop; ``bridge.client.sync`` has the same without one.

Every call repeats transient failures (no connection, 429, 502, 503, 504, problems marked retryable)
within ``patience_seconds``, counted from the first failure, and then raises what it met last; see
``bridge.client.errors``. Repeating is safe: a submission carries a key.
"""

from __future__ import annotations

import codecs
import logging
import math
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import IO, Any, Literal, TypeVar
from uuid import UUID, uuid4

import httpx

from bridge.client import calls
from bridge.client.calls import RunId
from bridge.client.errors import BridgeBadAnswer, BridgeUnreachable, ProblemError, RunTimeout
from bridge.client.history_api import MOST_PAGES, HistoryCalls
from bridge.client.models import (
    ArtifactModel,
    CancelRequest,
    ClearedModel,
    EventModel,
    MetricsModel,
    Page,
    RunModel,
    SubmitRequest,
    TaskModel,
)
from bridge.client.network import AsyncNetwork, Network
from bridge.client.notebook import Runs
from bridge.client.patience import OnTrouble, Patience, with_patience
from bridge.client.reproduction import ReproduceRequest, ReproductionModel
from bridge.client.sse import EventFeed
from bridge.client.status import BackendStatus, PauseRequest, QuarantineModel, StatusModel
from bridge.client.webhook_api import AsyncWebhooks
from bridge.client.wire import Call, base_url, error_from
from bridge.domain.states import RunPhase, parse_state

T = TypeVar("T")

log = logging.getLogger(__name__)

LONG_POLL_SECONDS = 30.0
DEFAULT_PATIENCE_SECONDS = 60.0
_SHORTEST_WAIT_SECONDS = 0.1
_PACE_SECONDS = 1.0
_LOG_POLL_SECONDS = 1.0
_CONTENT_IN_MEMORY_BYTES = 8 * 1024 * 1024


class AsyncBridgeClient(HistoryCalls):
    """A client of one bridge. Use it as an ``async with`` block, or ``close()`` it.

    ``timeout_seconds`` bounds each exchange (a long-poll comes on top), ``patience_seconds`` how long
    transient failures are repeated; 0 repeats nothing. ``token`` is the bridge's API token.
    ``on_trouble`` is told each failure that will be repeated, and in how many seconds.
    Raises ``ValueError`` for a URL that cannot be a bridge's and a token that cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
        network: Network | None = None,
        on_trouble: OnTrouble | None = None,
    ) -> None:
        self.url = base_url(url)
        self.patience_seconds = patience_seconds
        self._on_trouble = on_trouble
        self._network = network or AsyncNetwork(self.url, token, timeout_seconds, transport)
        self.webhooks = AsyncWebhooks(self._exchange)

    async def __aenter__(self) -> AsyncBridgeClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._network.close()

    async def submit(
        self, request: SubmitRequest, idempotency_key: str | None = None, *, waits: bool = False
    ) -> RunModel:
        """Hand a pipeline over; the answer is the run that was made, or the one that is there already.

        Without a key and without a complete task instance as origin, a key is made up: every such
        call is a submission of its own. ``waits`` promises to go on asking for the run until it is over:
        a bridge may cancel it otherwise (its setting ``orphan_after_seconds``). Raises ``ProblemError``
        when the bridge refuses it.
        """
        origin = request.origin
        complete = None not in (origin.dag_id, origin.dag_run_id, origin.task_id)
        key = idempotency_key or (None if complete else str(uuid4()))
        return await self._exchange(calls.submit(request, key, waits=waits))

    async def get_run(
        self, run_id: RunId, *, wait_seconds: float | None = None, version: int | None = None
    ) -> RunModel:
        """The run; with both options only once it is newer than ``version`` or the wait is over."""
        return await self._exchange(calls.get_run(run_id, wait_seconds, version))

    async def follow_run(
        self,
        run_id: RunId,
        *,
        timeout_seconds: float | None = None,
        poll_seconds: float = LONG_POLL_SECONDS,
    ) -> AsyncIterator[RunModel]:
        """The run now and after every long-poll, changed or not, until it is over (that one included).

        An attempt that the bridge gave up, because nobody could tell whether the backend had it, is
        followed by its successor. Raises ``RunTimeout`` when the run is not over after
        ``timeout_seconds`` (``None`` waits as long as it takes); the run goes on. The bridge may be
        away for ``patience_seconds`` meanwhile.
        """
        network = self._network
        deadline = math.inf if timeout_seconds is None else network.now() + timeout_seconds
        run = await self._newest_attempt(await self.get_run(run_id))
        yield run
        while not run.over:
            asked_at, version = network.now(), run.version
            run_id = run.run_id
            if asked_at >= deadline:
                raise RunTimeout(run, timeout_seconds or 0.0)
            poll = max(min(poll_seconds, deadline - asked_at), _SHORTEST_WAIT_SECONDS)
            run = await self._newest_attempt(await self.get_run(run_id, wait_seconds=poll, version=version))
            yield run
            if run.run_id == run_id and run.version == version and not run.over:
                # A service that does not wait as it was asked must not be asked without a pause.
                await network.sleep(max(0.0, asked_at + min(_PACE_SECONDS, poll) - network.now()))

    async def wait_run(
        self,
        run_id: RunId,
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[RunModel], None] | None = None,
    ) -> RunModel:
        """The run once it is over; ``on_change`` is told every version seen on the way, the first included.

        Raises as ``follow_run`` does.
        """
        seen: RunModel | None = None
        async for run in self.follow_run(run_id, timeout_seconds=timeout_seconds):
            known = seen is not None and (seen.run_id, seen.version) == (run.run_id, run.version)
            if on_change is not None and not known:
                on_change(run)
            seen = run
        assert seen is not None
        return seen

    async def list_runs(
        self, *, limit: int | None = None, cursor: str | None = None, **filters: Any
    ) -> Page[RunModel]:
        """One page of runs, newest first; the filters are those of ``GET /runs``."""
        return await self._exchange(calls.list_runs(limit, cursor, filters))

    async def iterate_runs(self, **filters: Any) -> AsyncIterator[RunModel]:
        """All runs that the filters leave, newest first, page by page."""
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await self.list_runs(limit=200, cursor=cursor, **filters)
            for run in page.items:
                yield run
            cursor = page.next_cursor
            if cursor is None:
                return

    async def runs(self, *, limit: int = 100, **filters: Any) -> Runs:
        """The newest runs that the filters leave, at most ``limit``, for a notebook: they show as a table,
        and ``to_pandas()`` makes one of pandas."""
        found = Runs()
        cursor: str | None = None
        while len(found) < limit:
            page = await self.list_runs(limit=min(200, limit - len(found)), cursor=cursor, **filters)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def tasks(self, run_id: RunId) -> list[TaskModel]:
        """The run's tasks as far as they are mirrored; the root has the path ``""``."""
        return await self._all(lambda cursor: calls.tasks(run_id, cursor))

    async def artifacts(self, run_id: RunId) -> list[ArtifactModel]:
        """The artifacts that the run's tasks read and wrote."""
        return await self._all(lambda cursor: calls.artifacts(run_id, cursor))

    async def metrics(self, run_id: RunId) -> MetricsModel:
        """The run's scalar and structured metrics."""
        return await self._exchange(calls.metrics(run_id))

    async def spec(self, run_id: RunId) -> str:
        """The compiled pipeline that the run runs, as YAML."""
        return await self._exchange(calls.spec(run_id))

    async def logs(self, run_id: RunId, task: str | None = None) -> str:
        """The log of one task, by its path; without one, of the task that the bridge chooses."""
        return await self._exchange(calls.logs(run_id, task))

    async def follow_log(self, run_id: RunId, task: str) -> AsyncIterator[str]:
        """The log of a task, by its path, as it grows, until the task has ended; pieces of text.

        It waits for a task that has not begun. A connection that breaks is opened again where it was. Raises
        ``BridgeUnreachable`` when the bridge stays away for ``patience_seconds``.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        reached = 0
        while True:
            # Asked before the log is read: what is written last is then read for certain.
            over = await self._is_task_over(run_id, task)
            try:
                response = await self._open_patiently(calls.followed_log(run_id, task, reached))
            except ProblemError as error:
                # It has not begun, or its log is gone.
                if error.slug != "not-found":
                    raise
            else:
                try:
                    async for chunk in self._network.chunks(response):
                        reached += len(chunk)
                        yield decoder.decode(chunk)
                except BridgeUnreachable as error:
                    log.info("the log broke off and is opened again: %s", error)
                    over = False
                finally:
                    await self._network.release(response)
            if over:
                break
            await self._network.sleep(_LOG_POLL_SECONDS)
        if rest := decoder.decode(b"", final=True):
            yield rest

    async def _is_task_over(self, run_id: RunId, task: str) -> bool:
        if (await self.get_run(run_id)).over:
            return True
        known = [one.state for one in await self.tasks(run_id) if one.path == task]
        return bool(known) and parse_state(known[0]).is_terminal

    async def cancel(
        self,
        run_id: RunId,
        *,
        key: UUID | None = None,
        try_number: int | None = None,
        reason: str | None = None,
    ) -> RunModel:
        """Ask for the run to be stopped. ``key`` and ``try_number`` say on whose behalf, and a
        superseded try is refused (``superseded``); a person leaves both out."""
        request = CancelRequest(key=key, try_number=try_number, reason=reason)
        return await self._exchange(calls.cancel(run_id, request))

    async def retry(self, run_id: RunId) -> RunModel:
        """Run the failed tasks of a failed run again, in the same run."""
        return await self._exchange(calls.retry(run_id))

    async def clear(self, run_id: RunId) -> ClearedModel:
        """Have Airflow clear the task that asked for the run, and what comes after it: Airflow asks again."""
        return await self._exchange(calls.clear(run_id))

    async def reproduce(
        self,
        run_id: RunId,
        *,
        allow: Literal["exact", "same-spec"] = "same-spec",
        dry_run: bool = False,
        caching: bool | None = False,
        display_name: str | None = None,
        idempotency_key: str | None = None,
    ) -> ReproductionModel:
        """Submit a run again with the same pipeline, arguments and data, and tell how exactly it is the same.

        Raises ``ProblemError`` ``not-reproducible`` for a grade below ``allow``. Without a key one is made.
        """
        request = ReproduceRequest(allow=allow, dry_run=dry_run, caching=caching, display_name=display_name)
        return await self._exchange(calls.reproduce(run_id, request, idempotency_key or str(uuid4())))

    async def quarantine(self, backend: str | None = None) -> list[QuarantineModel]:
        """The work that is set aside, the oldest first; a thousand at most."""
        return (await self._exchange(calls.list_quarantine(backend))).items

    async def release_quarantined(self, number: int) -> QuarantineModel:
        """Have work that is set aside tried again."""
        return await self._exchange(calls.release_quarantined(number))

    async def pause_backend(
        self, name: str, *, drain: bool = False, reason: str | None = None
    ) -> BackendStatus:
        """Have nothing new sent to a backend; with ``drain`` its status tells when nothing runs there."""
        return await self._exchange(calls.pause_backend(name, PauseRequest(drain=drain, reason=reason)))

    async def resume_backend(self, name: str) -> BackendStatus:
        """Have runs sent to a backend again."""
        return await self._exchange(calls.resume_backend(name))

    async def open_artifact(self, artifact_id: UUID | str) -> IO[bytes]:
        """The artifact's content as a seekable file at its start; close it after use.

        It is read to its end here, beyond 8 MiB into a temporary file that nobody else sees.
        """

        async def attempt() -> IO[bytes]:
            content = tempfile.SpooledTemporaryFile(max_size=_CONTENT_IN_MEMORY_BYTES)  # noqa: SIM115 - the caller closes it
            try:
                async for chunk in self._stream_bytes(calls.artifact_content(artifact_id)):
                    content.write(chunk)
            except BaseException:
                content.close()
                raise
            content.seek(0)
            return content

        return await self._patiently(attempt)

    async def post_lineage(self, events: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        """Hand over OpenLineage run events, one or a batch."""
        await self._exchange(calls.post_lineage(events))

    async def status(self) -> StatusModel:
        """How the bridge, its database, its workers and its backends are."""
        return await self._exchange(calls.status())

    async def events(
        self, last_id: int | None = None, *, on_connect: Callable[[], None] | None = None
    ) -> AsyncIterator[EventModel]:
        """Events as they come, after ``last_id`` (``None``: from now on); never ends by itself.

        A broken connection is opened again after the last event seen, so that none is missed or comes
        twice; ``on_connect`` is called each time one stands. Raises ``BridgeUnreachable`` when the
        bridge stays away for ``patience_seconds``.
        """
        feed = EventFeed(last_id)
        while True:
            response = await self._open_patiently(calls.events(feed.last_id))
            if on_connect is not None:
                on_connect()
            try:
                async for line in self._network.lines(response):
                    event = feed.feed(line)
                    if event is not None:
                        yield event
            except BridgeUnreachable as error:
                log.info("the event stream broke off and is opened again: %s", error)
            finally:
                await self._network.release(response)
            feed.reconnected()
            await self._network.sleep(feed.retry_seconds)

    async def _exchange(self, call: Call[T]) -> T:
        async def attempt() -> T:
            response = await self._network.send(call)
            error = error_from(response)
            if error is not None:
                raise error
            return call.parse(response)

        return await self._patiently(attempt)

    async def _newest_attempt(self, run: RunModel) -> RunModel:
        if run.phase != RunPhase.ABANDONED or run.submission_key is None:
            return run
        attempts = (await self.list_runs(submission_key=run.submission_key)).items
        return max([run, *attempts], key=lambda one: one.attempt)

    async def _open(self, call: Call[Any]) -> httpx.Response:
        response = await self._network.send(call, stream=True)
        if response.is_success:
            return response
        try:
            await self._network.read(response)
        finally:
            await self._network.release(response)
        raise error_from(response) or BridgeBadAnswer(f"{self.url} answered HTTP {response.status_code}")

    async def _open_patiently(self, call: Call[Any]) -> httpx.Response:
        async def attempt() -> httpx.Response:
            return await self._open(call)

        return await self._patiently(attempt)

    async def _stream_bytes(self, call: Call[Any]) -> AsyncIterator[bytes]:
        response = await self._open(call)
        try:
            async for chunk in self._network.chunks(response):
                yield chunk
        finally:
            await self._network.release(response)

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        network = self._network
        return await with_patience(
            attempt,
            patience=Patience(self.patience_seconds, network.now),
            sleep=network.sleep,
            on_trouble=self._on_trouble,
        )
