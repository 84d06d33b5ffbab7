"""A bridge in memory for tests of its callers: the API's messages, none of its machinery.

``FakeBridge`` holds the state and answers requests. ``transport()`` and ``async_transport()`` hand it
to httpx without a socket, ``serving()`` puts it on a loopback port. A run ends as ``next_end`` says
when somebody long-polls it, or has asked for it by its id among others, so that nothing here depends
on time. What happens is told by ``GET /events``.
"""

from __future__ import annotations

import asyncio
import json
import queue
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx

from bridge.client.calls import WAITS_HEADER
from bridge.client.models import (
    ArtifactModel,
    ErrorModel,
    EventModel,
    GateModel,
    MetricModel,
    MetricsModel,
    OriginModel,
    PipelineModel,
    RunLinks,
    RunModel,
    SubmitRequest,
    TaskModel,
)
from bridge.client.status import BackendStatus, StatusModel
from bridge.domain.identity import Origin, kfp_run_id, submission_key

_RUN_PATH = re.compile(r"^/api/v1/runs/([^/:]+)(?::(\w+)|/(\w+))?$")
_LONGEST_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class End:
    """How the next run to be waited for ends."""

    state: str = "SUCCEEDED"
    phase: str = "ENDED"
    error: ErrorModel | None = None
    gate: GateModel | None = None
    tasks: tuple[TaskModel, ...] = ()
    artifacts: tuple[ArtifactModel, ...] = ()
    metrics: tuple[MetricModel, ...] = ()


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    token: str | None
    promises_to_wait: bool = False


@dataclass
class Stored:
    """A run and what was mirrored of it."""

    run: RunModel
    request: SubmitRequest
    try_number: int
    end: End | None
    tasks: list[TaskModel] = field(default_factory=list)


class Refused(ConnectionError):
    """The bridge is away: the exchange breaks without an answer."""


class Stream:
    """One connection of the event stream; ``put`` hands it on, ``None`` breaks it."""

    def __init__(self, last_id: int | None, put: Callable[[str | None], None]) -> None:
        self.last_id = last_id
        self.put = put


class FakeBridge:
    """See the module. Every public attribute may be set by a test.

    ``away`` refuses everything, ``no_stream`` is the answer of a bridge without event stream, ``mute``
    lets streams stand without a line, as behind a proxy that holds them back.
    """

    def __init__(self, *, token: str | None = None) -> None:
        self.token = token
        self.next_end: End | None = End()
        self.outages = 0
        self.problems: list[tuple[int, dict[str, Any]]] = []
        self.on_request: Any = None
        self.requests: list[Seen] = []
        self.lineage: list[dict[str, Any]] = []
        self.runs: dict[str, Stored] = {}
        self.keys: dict[UUID, str] = {}
        self.cancels: list[tuple[str, dict[str, Any]]] = []
        self.away = False
        self.no_stream: tuple[int, str, str] | None = None
        self.mute = False
        self.fail_tasks = False
        self.streams: list[Stream] = []
        self.opened: list[Stream] = []
        self.events: list[str] = []
        self.retries: list[str] = []
        self._changed = threading.Condition()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Status and JSON for one request. Raises ``Refused`` while the bridge is away."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        token = headers.get("authorization", "").removeprefix("Bearer ") or None
        promises = any(name.lower() == WAITS_HEADER.lower() for name in headers)
        seen = Seen(method, parts.path, query, json.loads(body) if body else None, token, promises)
        with self._changed:
            self.requests.append(seen)
            if self.on_request is not None:
                self.on_request(seen)
            if self.away or self.outages > 0:
                self.outages -= not self.away
                raise Refused("away")
            if self.token is not None and token != self.token:
                return problem(401, "unauthorized", "this bridge wants a token")
            if self.problems:
                return self.problems.pop(0)
            return self._route(seen)

    def listen(self, headers: dict[str, str], put: Callable[[str | None], None]) -> Stream:
        """A new connection of the event stream. Raises ``Refused`` while the bridge is away."""
        with self._changed:
            if self.away:
                raise Refused("away")
            last = headers.get("last-event-id")
            stream = Stream(None if last is None else int(last), put)
            self.streams.append(stream)
            self.opened.append(stream)
            start = len(self.events) if stream.last_id is None else min(stream.last_id, len(self.events))
            if not self.mute:
                put(f"retry: 2000\nid: {start}\n\n")
                for told in self.events[start:]:
                    put(told)
            return stream

    def hang_up(self, stream: Stream) -> None:
        """The reader of a stream is gone."""
        with self._changed:
            if stream in self.streams:
                self.streams.remove(stream)

    def say(self, text: str) -> None:
        """Sends text, whatever it is, to everybody who listens."""
        with self._changed:
            for stream in self.streams:
                stream.put(text)

    def cut(self) -> None:
        """Breaks every open stream."""
        with self._changed:
            for stream in self.streams:
                stream.put(None)
            self.streams.clear()

    def submit(self) -> str:
        """A run that was submitted by nobody in particular; its id."""
        with self._changed:
            origin = OriginModel(dag_id="d", dag_run_id=str(uuid4()), task_id="t")
            _, run = self._submit(SubmitRequest(spec="x", origin=origin))
            return str(run["run_id"])

    def finish(self, run_id: str, end: End) -> None:
        """Ends a run now."""
        with self._changed:
            self._finish(self.runs[run_id], end)

    def mirrored(self, run_id: str) -> None:
        """Says that the run's tasks have changed; its version stays."""
        with self._changed:
            self._announce(self.runs[run_id], "run.mirrored", {})

    def change(self, run_id: str, **columns: Any) -> None:
        """Changes a run and wakes who waits for it."""
        with self._changed:
            self._change(self.runs[run_id], **columns)

    def transport(self) -> httpx.MockTransport:
        """For ``httpx.Client``."""
        return httpx.MockTransport(self._handle)

    def async_transport(self) -> httpx.MockTransport:
        """For ``httpx.AsyncClient``; a long-poll does not block the loop."""

        async def handle(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/events"):
                return await self._stream_to(request)
            if "wait" in request.url.params:
                return await asyncio.to_thread(self._handle, request)
            return self._handle(request)

        return httpx.MockTransport(handle)

    @contextmanager
    def serving(self, port: int = 0) -> Iterator[str]:
        """On a port of 127.0.0.1, by default a free one; yields the URL."""
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler_for(self))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            self.cut()
            server.server_close()

    async def _stream_to(self, request: httpx.Request) -> httpx.Response:
        if self.no_stream is not None and not self.away:
            status, kind, text = self.no_stream
            return httpx.Response(status, text=text, headers={"content-type": kind})
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return httpx.Response(401, json=problem(401, "unauthorized", "this bridge wants a token")[1])
        loop, told = asyncio.get_running_loop(), asyncio.Queue[str | None]()
        try:
            stream = self.listen(
                dict(request.headers), lambda text: loop.call_soon_threadsafe(told.put_nowait, text)
            )
        except Refused as error:
            raise httpx.ConnectError(str(error), request=request) from error
        body = _Body(self, stream, told)
        return httpx.Response(200, stream=body, headers={"content-type": "text/event-stream"})

    def _handle(self, request: httpx.Request) -> httpx.Response:
        target = str(request.url.raw_path, "ascii")
        try:
            status, content = self.answer(request.method, target, dict(request.headers), request.content)
        except Refused as error:
            raise httpx.ConnectError(str(error), request=request) from error
        kind = "application/problem+json" if status >= 400 else "application/json"
        return httpx.Response(status, json=content, headers={"content-type": kind})

    def _route(self, seen: Seen) -> tuple[int, Any]:
        if seen.path == "/api/v1/status":
            return 200, dump(StatusModel(version="0.1.0", database="sqlite", backends=[_backend("default")]))
        if seen.path == "/api/v1/lineage" and seen.method == "POST":
            self.lineage += seen.body if isinstance(seen.body, list) else [seen.body]
            return 202, {}
        if seen.path == "/api/v1/runs" and seen.method == "POST":
            return self._submit(SubmitRequest.model_validate(seen.body))
        if seen.path == "/api/v1/runs":
            return 200, {"items": self._listed(seen.query), "next_cursor": None}
        match = _RUN_PATH.match(seen.path)
        if match is None or match[1] not in self.runs:
            return problem(404, "not-found", f"there is no {seen.path}")
        return self._of_run(self.runs[match[1]], seen, match[2] or match[3])

    def _of_run(self, stored: Stored, seen: Seen, what: str | None) -> tuple[int, Any]:
        if what == "cancel":
            return self._cancel(stored, seen.body)
        if what == "retry":
            return self._retry(stored)
        if what == "tasks" and self.fail_tasks:
            return problem(404, "not-found", "the tasks cannot be read")
        if what == "tasks":
            return 200, {"items": [dump(task) for task in stored.tasks], "next_cursor": None}
        if what == "artifacts":
            return 200, {"items": [dump(a) for a in (stored.end or End()).artifacts], "next_cursor": None}
        if what == "metrics":
            return 200, dump(MetricsModel(scalars=list((stored.end or End()).metrics)))
        self._wait(stored, seen.query)
        return 200, dump(stored.run)

    def _listed(self, query: dict[str, str]) -> list[Any]:
        """Newest first; the filters that callers of this package use. Asked for by id, a run that has an
        end ahead is over the next time."""
        ids = {UUID(text) for text in query["ids"].split(",")} if "ids" in query else None
        assert ids is None or len(ids) <= 200, "the bridge takes 200 ids at most"

        def fits(run: RunModel) -> bool:
            told = {
                "pipeline": run.pipeline.name,
                "state": run.state,
                "project": run.project,
                "backend": run.backend,
                "submission_key": str(run.submission_key),
                "dag_id": run.origin.dag_id,
                "dag_run_id": run.origin.dag_run_id,
                "task_id": run.origin.task_id,
                "map_index": str(run.origin.map_index),
            }
            after = datetime.fromisoformat(query.get("created_after", "1970-01-01"))
            return (
                all(query.get(name, value) == value for name, value in told.items())
                and (ids is None or run.run_id in ids)
                and run.created_at >= (after if after.tzinfo else after.replace(tzinfo=UTC))
            )

        found = [stored for stored in reversed(self.runs.values()) if fits(stored.run)]
        answer = [dump(stored.run) for stored in found]
        for stored in found:
            if ids is not None and stored.end is not None and not stored.run.over:
                self._finish(stored, stored.end)
        return answer[: int(query.get("limit", 200 if ids else 50))]

    def _submit(self, request: SubmitRequest) -> tuple[int, Any]:
        origin = Origin(**request.origin.model_dump())
        key = submission_key(request.project, origin)
        known = self.runs.get(self.keys.get(key, ""))
        if known is None and request.skip_if_unchanged:
            same = self._unchanged(request)
            if same is not None:
                self.keys[key] = str(same.run_id)
                return 202, dump(same.model_copy(update={"warnings": ["nothing changed"]}))
        if known is not None and (known.run.state == "SUCCEEDED" or not known.run.over):
            known.try_number = max(known.try_number, origin.try_number)
            return 202, dump(known.run)
        attempt = 1 if known is None else known.run.attempt + 1
        run = _new_run(request, key, attempt)
        self.keys[key] = str(run.run_id)
        self.runs[str(run.run_id)] = Stored(run, request, origin.try_number, self.next_end)
        return 202, dump(run)

    def _unchanged(self, request: SubmitRequest) -> RunModel | None:
        """The newest run that is good and was asked for with the same arguments and inputs."""
        for stored in reversed(self.runs.values()):
            asked = stored.request
            if (
                stored.run.good
                and (asked.spec, asked.pipeline) == (request.spec, request.pipeline)
                and (asked.arguments, asked.inputs) == (request.arguments, request.inputs)
            ):
                return stored.run
        return None

    def _cancel(self, stored: Stored, body: dict[str, Any]) -> tuple[int, Any]:
        self.cancels.append((str(stored.run.run_id), body))
        if body.get("try_number") is not None and body["try_number"] < stored.try_number:
            return problem(409, "superseded", "a later try has this run")
        if not stored.run.over:
            self._finish(stored, End(state="CANCELED"))
        return 202, dump(stored.run)

    def _retry(self, stored: Stored) -> tuple[int, Any]:
        run = stored.run
        if not run.over or run.state not in ("FAILED", "CANCELED"):
            return problem(409, "not-retryable", f"the run is {run.state}")
        self.retries.append(str(run.run_id))
        stored.end = self.next_end
        self._change(
            stored,
            state="RUNNING",
            phase="ACTIVE",
            mirror="PARTIAL",
            over=False,
            error=None,
            finished_at=None,
            revivals=run.revivals + 1,
        )
        return 202, dump(stored.run)

    def _wait(self, stored: Stored, query: dict[str, str]) -> None:
        if "wait" not in query or stored.run.over or stored.run.version != int(query.get("version", 0)):
            return
        if stored.end is not None:
            self._finish(stored, stored.end)
            return
        seconds = min(float(query["wait"].removesuffix("s")), _LONGEST_POLL_SECONDS)
        self._changed.wait(seconds)

    def _finish(self, stored: Stored, end: End) -> None:
        stored.end, stored.tasks = end, list(end.tasks)
        good = end.state == "SUCCEEDED" and (end.gate is None or end.gate.passed is True)
        self._change(
            stored,
            state=end.state,
            phase=end.phase,
            mirror="COMPLETE",
            over=True,
            good=good,
            error=end.error,
            gate=end.gate,
            finished_at=datetime.now(UTC),
        )

    def _change(self, stored: Stored, **columns: Any) -> None:
        stored.run = stored.run.model_copy(update={**columns, "version": stored.run.version + 1})
        self._changed.notify_all()
        self._announce(stored, "run.changed", {"version": stored.run.version})

    def _announce(self, stored: Stored, kind: str, data: dict[str, Any]) -> None:
        number = len(self.events) + 1
        event = EventModel(
            number=number, type=kind, time=datetime.now(UTC), run_id=stored.run.run_id, data=data
        )
        self.events.append(f"id: {number}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n")
        if not self.mute:
            for stream in self.streams:
                stream.put(self.events[-1])


class _Body(httpx.AsyncByteStream):
    """What ``httpx`` reads of a stream."""

    def __init__(self, bridge: FakeBridge, stream: Stream, told: asyncio.Queue[str | None]) -> None:
        self._bridge = bridge
        self._stream = stream
        self._told = told

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (text := await self._told.get()) is not None:
            yield text.encode()
        raise httpx.ReadError("cut")

    async def aclose(self) -> None:
        self._bridge.hang_up(self._stream)


def problem(status: int, slug: str, detail: str, **members: Any) -> tuple[int, dict[str, Any]]:
    """Problem details as the bridge sends them."""
    return status, {
        "type": f"urn:kfbridge:problem:{slug}",
        "title": slug,
        "status": status,
        "detail": detail,
        "retryable": False,
        **members,
    }


def a_task(path: str, state: str = "SUCCEEDED", **columns: Any) -> TaskModel:
    """A task of a run."""
    return TaskModel(task_id=f"id-of-{path}", name=path.rsplit(".", 1)[-1], path=path, state=state, **columns)


def dump(model: Any) -> Any:
    """A message as JSON values."""
    return model.model_dump(mode="json")


def _new_run(request: SubmitRequest, key: UUID, attempt: int) -> RunModel:
    run_id = uuid4()
    return RunModel(
        run_id=run_id,
        kfp_run_id=kfp_run_id(key, attempt),
        submission_key=key,
        attempt=attempt,
        backend=request.backend or "default",
        project=request.project,
        pipeline=PipelineModel(name=request.pipeline.name if request.pipeline else "hello", digest="d" * 64),
        display_name=request.display_name or "hello",
        state="RUNNING",
        phase="ACTIVE",
        mirror="NONE",
        over=False,
        good=False,
        version=1,
        created_at=datetime.now(UTC),
        arguments=request.arguments,
        labels=request.labels,
        origin=OriginModel.model_validate(request.origin.model_dump()),
        links=RunLinks(
            bridge=f"http://bridge.example/runs/{run_id}", kfp=f"http://kfp.example/#/runs/details/{run_id}"
        ),
    )


def _backend(name: str) -> BackendStatus:
    return BackendStatus(name=name, url="http://kfp.example", reachable=True)


def _handler_for(bridge: FakeBridge) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            if self.path.startswith("/api/v1/events"):
                self._tell()
                return
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                status, content = bridge.answer(self.command, self.path, headers, body)
            except Refused:
                self.close_connection = True
                return
            data = json.dumps(content).encode()
            self.send_response(status)
            kind = "application/problem+json" if status >= 400 else "application/json"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            try:
                self.end_headers()
                self.wfile.write(data)
            except ConnectionError:
                # The caller went away during a long-poll, as one whose time is up does.
                self.close_connection = True

        def _tell(self) -> None:
            told: queue.Queue[str | None] = queue.Queue()
            self.close_connection = True
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                stream = bridge.listen(headers, told.put)
            except Refused:
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            try:
                self.end_headers()
                while (text := told.get()) is not None:
                    self.wfile.write(text.encode())
            except ConnectionError:
                bridge.hang_up(stream)

        do_GET = do_POST = _respond

        def log_message(self, *_: Any) -> None:
            """Nothing: a test's output is the test's."""

    return Handler
