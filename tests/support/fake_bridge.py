"""A bridge in memory for tests of its callers: the API's messages, none of its machinery.

``FakeBridge`` holds the state and answers requests. ``transport()`` and ``async_transport()`` hand it
to httpx without a socket, ``serving()`` puts it on a loopback port. A run ends as ``next_end`` says
when somebody long-polls it, so that nothing here depends on time.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx

from bridge.client.models import (
    ArtifactModel,
    BackendStatus,
    ErrorModel,
    GateModel,
    MetricModel,
    MetricsModel,
    OriginModel,
    PipelineModel,
    RunLinks,
    RunModel,
    StatusModel,
    SubmitRequest,
    TaskModel,
)
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


class FakeBridge:
    """See the module. Every public attribute may be set by a test."""

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
        self.retries: list[str] = []
        self._changed = threading.Condition()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Status and JSON for one request. Raises ``Refused`` while the bridge is away."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        token = headers.get("authorization", "").removeprefix("Bearer ") or None
        seen = Seen(method, parts.path, query, json.loads(body) if body else None, token)
        with self._changed:
            self.requests.append(seen)
            if self.on_request is not None:
                self.on_request(seen)
            if self.outages > 0:
                self.outages -= 1
                raise Refused("away")
            if self.token is not None and token != self.token:
                return problem(401, "unauthorized", "this bridge wants a token")
            if self.problems:
                return self.problems.pop(0)
            return self._route(seen)

    def finish(self, run_id: str, end: End) -> None:
        """Ends a run now."""
        with self._changed:
            self._finish(self.runs[run_id], end)

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
            return await asyncio.to_thread(self._handle, request)

        return httpx.MockTransport(handle)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """On a free port of 127.0.0.1; yields the URL."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

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
        match = _RUN_PATH.match(seen.path)
        if match is None or match[1] not in self.runs:
            return problem(404, "not-found", f"there is no {seen.path}")
        return self._of_run(self.runs[match[1]], seen, match[2] or match[3])

    def _of_run(self, stored: Stored, seen: Seen, what: str | None) -> tuple[int, Any]:
        if what == "cancel":
            return self._cancel(stored, seen.body)
        if what == "retry":
            return self._retry(stored)
        if what == "tasks":
            return 200, {"items": [dump(task) for task in stored.tasks], "next_cursor": None}
        if what == "artifacts":
            return 200, {"items": [dump(a) for a in (stored.end or End()).artifacts], "next_cursor": None}
        if what == "metrics":
            return 200, dump(MetricsModel(scalars=list((stored.end or End()).metrics)))
        self._wait(stored, seen.query)
        return 200, dump(stored.run)

    def _submit(self, request: SubmitRequest) -> tuple[int, Any]:
        origin = Origin(**request.origin.model_dump())
        key = submission_key(request.project, origin)
        known = self.runs.get(self.keys.get(key, ""))
        if known is not None and (known.run.state == "SUCCEEDED" or not known.run.over):
            known.try_number = max(known.try_number, origin.try_number)
            return 202, dump(known.run)
        attempt = 1 if known is None else known.run.attempt + 1
        run = _new_run(request, key, attempt)
        self.keys[key] = str(run.run_id)
        self.runs[str(run.run_id)] = Stored(run, request, origin.try_number, self.next_end)
        return 202, dump(run)

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

        do_GET = do_POST = _respond

        def log_message(self, *_: Any) -> None:
            """Nothing: a test's output is the test's."""

    return Handler
