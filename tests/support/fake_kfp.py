"""A KFP server in memory, behind httpx's transport seam, that behaves as ``kfp-facts`` says KFP does.

A second POST with a known run_id starts a second Workflow and answers 500. Tests move runs with
``finish`` and friends, and lay out trouble with ``refuse``, ``drop_answers``, ``orphan_next`` and ``down``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import httpx

from bridge.domain.lineage import RunMirror
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.messages import TaskDetail
from bridge.kfp_api.metadata import Changes
from bridge.kfp_api.retry import RetryPolicy

API = "/apis/v2beta1"
EPOCH = "1970-01-01T00:00:00Z"
_TERMINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_TERMINABLE = ("PENDING", "RUNNING", "PAUSED")

Row = dict[str, Any]


@dataclass
class FakeKfp:
    """The server's rows, what it was asked, and the trouble it makes."""

    multi_user: bool = False
    token: str | None = None
    down: bool = False
    runs: dict[str, Row] = field(default_factory=dict)
    workflows: list[str] = field(default_factory=list)
    pipelines: dict[str, Row] = field(default_factory=dict)
    versions: dict[str, Row] = field(default_factory=dict)
    experiments: dict[str, Row] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    mirrors: dict[UUID, RunMirror] = field(default_factory=dict)
    changed: dict[UUID, int] = field(default_factory=dict)
    metadata_down: bool = False
    forbidden_namespaces: frozenset[str] = frozenset()
    clock_off_seconds: float = 0.0
    requests: list[tuple[str, str]] = field(default_factory=list)
    traceparents: list[str] = field(default_factory=list)
    orphan_next: bool = False
    _refusals: list[tuple[str, str, int, dict[str, str]]] = field(default_factory=list)
    _dropped: list[tuple[str, str]] = field(default_factory=list)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    # What tests do

    def refuse(self, method: str, path: str, status: int, **headers: str) -> None:
        """Answer the next such request with an error, without doing anything."""
        self._refusals.append((method, path, status, headers))

    def drop_answer(self, method: str, path: str) -> None:
        """Do what the next such request asks for, and lose the answer."""
        self._dropped.append((method, path))

    def posts(self) -> int:
        """How many runs were asked for."""
        return self.requests.count(("POST", f"{API}/runs"))

    def start(self, kfp_run_id: UUID | str) -> None:
        """The run is running."""
        self.runs[str(kfp_run_id)]["state"] = "RUNNING"

    def finish(
        self,
        kfp_run_id: UUID | str,
        state: str = "SUCCEEDED",
        *,
        error: str | None = None,
        seconds_ago: float = 0.0,
    ) -> None:
        """The run has ended, that long ago by its row; in whole seconds, as Argo tells it."""
        row = self.runs[str(kfp_run_id)]
        row["state"] = state
        row["finished_at"] = _text((self.now() - timedelta(seconds=seconds_ago)).replace(microsecond=0))
        if error:
            row["error"] = {"code": 13, "message": error}

    def add_foreign_run(self, state: str = "RUNNING", **fields: Any) -> UUID:
        """A run that somebody started without the bridge."""
        kfp_run_id = uuid4()
        self.runs[str(kfp_run_id)] = {
            "run_id": str(kfp_run_id),
            "display_name": "from a notebook",
            "created_at": _text(self.now()),
            "finished_at": EPOCH,
            "state": state,
            **fields,
        }
        return kfp_run_id

    def client(self) -> KfpClient:
        """A client of this server, which does not wait between its own retries."""

        async def no_sleep(seconds: float) -> None:
            assert seconds >= 0

        return KfpClient(
            "http://kfp.example",
            transport=httpx.MockTransport(self.handle),
            retry=RetryPolicy(attempts=1),
            sleep=no_sleep,
        )

    def reader(self) -> FakeMetadata:
        """The metadata reader that belongs to this server."""
        return FakeMetadata(self)

    # What the server does

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """One exchange."""
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        await request.aread()
        method, path = request.method, request.url.path
        self.requests.append((method, path))
        if method == "POST" and path == f"{API}/runs" and "traceparent" in request.headers:
            self.traceparents.append(request.headers["traceparent"])
        for refusal in self._refusals:
            if refusal[:2] == (method, path):
                self._refusals.remove(refusal)
                return _error(refusal[2], "as the test wants it", **refusal[3])
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return _error(401, "Unauthenticated: the token is not valid")
        answer = self._answer(method, path, request)
        if (method, path) in self._dropped:
            self._dropped.remove((method, path))
            raise httpx.ReadTimeout("no answer", request=request)
        return answer

    def _answer(self, method: str, path: str, request: httpx.Request) -> httpx.Response:
        query = {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}
        if path == f"{API}/healthz":
            return _ok({"multi_user": self.multi_user})
        if path.startswith(f"{API}/runs"):
            return self._runs_route(method, path.removeprefix(f"{API}/runs"), query, request)
        if path.startswith(f"{API}/experiments"):
            return self._experiments_route(method, query, request)
        if path.startswith(f"{API}/pipelines"):
            return self._pipelines_route(method, path.removeprefix(f"{API}/pipelines"), query, request)
        if path.startswith("/apis/v1alpha1/runs/"):
            pod = path.split("/nodes/")[1].removesuffix("/log")
            return httpx.Response(200, text=self.logs[pod]) if pod in self.logs else _error(404, "no log")
        return _error(404, f"no route {path}")

    def _runs_route(
        self, method: str, rest: str, query: dict[str, str], request: httpx.Request
    ) -> httpx.Response:
        if method == "POST" and rest == "":
            return self._create_run(json.loads(request.content))
        if method == "GET" and rest == "":
            return self._list_runs(query)
        name, _, verb = rest.removeprefix("/").partition(":")
        row = self.runs.get(name)
        if row is None:
            return _error(404, f"run {name} not found", code=5)
        if verb == "terminate":
            if row.get("state") not in _TERMINABLE:
                return _error(400, f"a run in state {row.get('state')} cannot be terminated", code=9)
            row["state"] = "CANCELING"
            return _ok({})
        if verb == "retry":
            if row.get("state") not in ("FAILED", "CANCELED"):
                return _error(400, "only failed runs can be retried", code=9)
            row.update(state="RUNNING", finished_at=EPOCH)
            row.pop("error", None)
            return _ok({})
        return _ok(row)

    def _create_run(self, body: Row) -> httpx.Response:
        run_id = body.get("run_id") or str(uuid4())
        reference = body.get("pipeline_version_reference") or {}
        if reference.get("pipeline_version_id") not in self.versions:
            return _error(404, "pipeline version not found", code=5)
        # The Workflow comes first: it is there whatever becomes of the row.
        self.workflows.append(run_id)
        if self.orphan_next:
            self.orphan_next = False
            return _error(500, "insert failed")
        if run_id in self.runs:
            return _error(500, "duplicate entry for key PRIMARY")
        row = {**body, "run_id": run_id, "state": "PENDING", "finished_at": EPOCH}
        row["created_at"] = _text(self.now())
        self.runs[run_id] = row
        return _ok(row)

    def _list_runs(self, query: dict[str, str]) -> httpx.Response:
        if self.multi_user and not query.get("namespace"):
            return _error(400, "a namespace is required in multi-user mode", code=3)
        if query.get("namespace") in self.forbidden_namespaces:
            return _error(403, f"not allowed to list runs in {query['namespace']}", code=7)
        rows = list(self.runs.values())
        for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
            rows = [row for row in rows if _matches(row, predicate)]
        key, _, order = query.get("sort_by", "created_at asc").partition(" ")
        rows.sort(key=lambda row: str(row.get(key, "")), reverse=order == "desc")
        start, size = int(query.get("page_token", 0)), min(200, int(query.get("page_size", 20)))
        answer: Row = {"runs": rows[start : start + size], "total_size": len(rows)}
        if start + size < len(rows):
            answer["next_page_token"] = str(start + size)
        return _ok(answer)

    def _experiments_route(
        self, method: str, query: dict[str, str], request: httpx.Request
    ) -> httpx.Response:
        if method == "POST":
            body = json.loads(request.content)
            body["experiment_id"] = str(uuid4())
            self.experiments[body["experiment_id"]] = body
            return _ok(body)
        rows = list(self.experiments.values())
        for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
            rows = [row for row in rows if _matches(row, predicate)]
        return _ok({"experiments": rows})

    def _pipelines_route(
        self, method: str, rest: str, query: dict[str, str], request: httpx.Request
    ) -> httpx.Response:
        if rest == "/upload":
            pipeline = {"pipeline_id": str(uuid4()), "display_name": query["name"], "name": query["name"]}
            self.pipelines[pipeline["pipeline_id"]] = pipeline
            self._add_version(pipeline["pipeline_id"], query["name"], request)
            return _ok(pipeline)
        if rest == "/upload_version":
            return _ok(self._add_version(query["pipelineid"], query["name"], request))
        if rest.startswith("/names/"):
            name = rest.removeprefix("/names/")
            found = next((one for one in self.pipelines.values() if one["name"] == name), None)
            return _ok(found) if found else _error(404, "no such pipeline", code=5)
        pipeline_id, _, version_id = rest.strip("/").partition("/versions")
        if version_id.strip("/"):
            version = self.versions.get(version_id.strip("/"))
            return _ok(version) if version else _error(404, "no such version", code=5)
        rows = [one for one in self.versions.values() if one["pipeline_id"] == pipeline_id]
        if query.get("sort_by") == "created_at desc":
            rows.reverse()
        start, size = int(query.get("page_token", 0)), min(200, int(query.get("page_size", 20)))
        answer: Row = {"pipeline_versions": rows[start : start + size]}
        if start + size < len(rows):
            answer["next_page_token"] = str(start + size)
        return _ok(answer)

    def _add_version(self, pipeline_id: str, name: str, request: httpx.Request) -> Row:
        version = {
            "pipeline_version_id": str(uuid4()),
            "pipeline_id": pipeline_id,
            "name": name,
            "display_name": name,
        }
        self.versions[version["pipeline_version_id"]] = version
        return version


@dataclass
class FakeMetadata:
    """The metadata beside a ``FakeKfp``: what tests put into its ``mirrors`` and ``changed``."""

    server: FakeKfp
    readings: int = 0

    async def read_run(self, kfp_run_id: UUID, tasks: Sequence[TaskDetail]) -> RunMirror | None:
        """The run's mirror, if a test laid one out."""
        self._check()
        self.readings += 1
        return self.server.mirrors.get(kfp_run_id)

    async def read_runs(self, runs: Mapping[UUID, Sequence[TaskDetail]]) -> dict[UUID, RunMirror]:
        """Nothing: each is read alone."""
        return {}

    async def changed_since(self, since_ms: int) -> Changes | None:
        """The runs that a test marked as changed since then."""
        self._check()
        found = {run: at for run, at in self.server.changed.items() if at >= since_ms}
        return Changes(frozenset(found), max([since_ms, *found.values()]))

    def _check(self) -> None:
        from bridge.kfp_api.errors import KfpUnreachable

        if self.server.metadata_down:
            raise KfpUnreachable("the metadata service is away", sent=False)


def _matches(row: Row, predicate: Row) -> bool:
    value = str(row.get(predicate["key"], ""))
    wanted = predicate.get("timestamp_value", predicate.get("string_value"))
    match predicate["operation"]:
        case "EQUALS":
            return value == wanted
        case "GREATER_THAN_EQUALS":
            return value != EPOCH and _moment(value) >= _moment(wanted)
        case "IN":
            return value in predicate["string_values"]["values"]
        case "LESS_THAN":
            return _moment(value) < _moment(wanted)
        case other:
            raise AssertionError(f"the fake does not know {other}")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _ok(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)


def _error(status: int, message: str, *, code: int = 13, **headers: str) -> httpx.Response:
    body = {"error": message, "code": code, "message": message, "details": []}
    return httpx.Response(status, json=body, headers=headers)
