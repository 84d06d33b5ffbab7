"""A bridge in memory: answers the API with its own messages, as one ``httpx`` handler.

A test scripts it: what runs there are, which failures come first, how a run goes on when it is waited for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import httpx

from bridge.client.comparison import CompareModel
from bridge.client.lineage import ExplainInput, ExplainModel
from bridge.client.models import (
    ArtifactModel,
    ArtifactUseModel,
    MetricModel,
    MetricsModel,
    OriginModel,
    PipelineModel,
    Problem,
    ProblemField,
    RunLinks,
    RunModel,
    TaskModel,
)
from bridge.client.reproduction import ReproducibilityModel, ReproductionModel

URL = "http://bridge.test:8700"
NOW = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)
_IDS = UUID("11111111-2222-4333-8444-555555555555")

Change = dict[str, Any]
Handler = Callable[[httpx.Request], httpx.Response | None]


def make_run(name: str = "toy", **changes: Any) -> RunModel:
    """A run that has just begun, changed as the test wants it."""
    values: dict[str, Any] = {
        "run_id": uuid5(_IDS, name),
        "kfp_run_id": uuid5(_IDS, f"{name} kfp"),
        "submission_key": uuid5(_IDS, f"{name} key"),
        "backend": "default",
        "project": "default",
        "pipeline": PipelineModel(name="toy", digest="ab" * 32),
        "display_name": name,
        "state": "RUNNING",
        "phase": "ACTIVE",
        "mirror": "PARTIAL",
        "over": False,
        "good": False,
        "version": 1,
        "created_at": NOW,
        "started_at": NOW,
        "links": RunLinks(bridge=f"{URL}/runs/{uuid5(_IDS, name)}"),
        "origin": OriginModel(scheduler="cli", user="ann"),
    }
    return RunModel(**{**values, **changes})


def over(state: str = "SUCCEEDED", **changes: Any) -> Change:
    """How a run looks once it is over."""
    return {
        "state": state,
        "phase": "ENDED",
        "over": True,
        "good": state == "SUCCEEDED",
        "finished_at": NOW.replace(minute=2),
        "mirror": "COMPLETE",
        **changes,
    }


def make_task(path: str, state: str = "SUCCEEDED", **changes: Any) -> TaskModel:
    """A task; its id is its path and its parent is the path above it."""
    name = path.rpartition(".")[2]
    parent = path.rpartition(".")[0] if "." in path else ("" if path else None)
    values: dict[str, Any] = {"task_id": path or "root", "name": name, "path": path, "state": state}
    values["parent_task_id"] = "root" if parent == "" else parent
    values["started_at"] = NOW
    if state in ("SUCCEEDED", "FAILED", "CANCELED"):
        values["finished_at"] = NOW.replace(second=12)
    return TaskModel(**{**values, **changes})


def make_artifact(run: RunModel, key: str, kind: str = "system.Model", **changes: Any) -> ArtifactModel:
    """An artifact that a task of the run put out; ``key`` is ``task.output``."""
    task, _, name = key.rpartition(".")
    values: dict[str, Any] = {
        "artifact_id": uuid5(_IDS, f"{run.run_id} {key}"),
        "type": kind,
        "uri": f"s3://models/{run.run_id}/{key}",
        "uses": [ArtifactUseModel(run_id=run.run_id, task_path=task, key=name, direction="OUTPUT")],
    }
    return ArtifactModel(**{**values, **changes})


def problem(
    slug: str, status: int, detail: str, *, retryable: bool = False, errors: dict[str, str] | None = None
) -> httpx.Response:
    """A refusal as the bridge writes it."""
    fields = [ProblemField(pointer=pointer, detail=text) for pointer, text in (errors or {}).items()]
    body = Problem(
        type=f"urn:kfbridge:problem:{slug}",
        title=slug.replace("-", " "),
        status=status,
        detail=detail,
        retryable=retryable,
        errors=fields,
    )
    content = body.model_dump(mode="json", exclude_none=True)
    return httpx.Response(status, json=content, headers={"content-type": "application/problem+json"})


class FakeBridge:
    """The bridge. ``requests`` holds what it was asked, ``trouble`` what it answers before it behaves."""

    def __init__(self) -> None:
        self.runs: dict[UUID, RunModel] = {}
        self.script: dict[UUID, list[Change]] = {}
        self.tasks: dict[UUID, list[TaskModel]] = {}
        self.artifacts: dict[UUID, list[ArtifactModel]] = {}
        self.metrics: dict[UUID, list[MetricModel]] = {}
        self.inputs: dict[UUID, list[ExplainInput]] = {}
        self.comparison = CompareModel(runs=[])
        self.content: dict[UUID, bytes] = {}
        self.log: dict[str, str] = {}
        self.trouble: list[httpx.Response | Exception] = []
        self.streams: list[httpx.Response | Exception] = []
        self.refuse: Handler | None = None
        self.requests: list[httpx.Request] = []
        self.lineage: list[Any] = []
        self.token: str | None = None
        self.page_size = 50

    def add(self, run: RunModel, *changes: Change) -> RunModel:
        """Keep a run; each long-poll then applies the next change to it."""
        self.runs[run.run_id] = run
        self.script[run.run_id] = list(changes)
        return run

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        if self.trouble:
            trouble = self.trouble.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            return trouble
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return problem("unauthorized", 401, "the token is missing or wrong")
        refused = self.refuse(request) if self.refuse else None
        return refused or self._route(request)

    def transport(self) -> httpx.MockTransport:
        """The way to it, for either client."""
        return httpx.MockTransport(self)

    def asked(self, method: str, pattern: str) -> list[httpx.Request]:
        """The requests of that method whose path matches."""
        return [one for one in self.requests if one.method == method and re.search(pattern, one.url.path)]

    def _route(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        if (request.method, path) == ("POST", "/runs"):
            return self._submit(json.loads(request.content))
        if (request.method, path) == ("POST", "/lineage"):
            self.lineage.append(json.loads(request.content))
            return httpx.Response(202, json={"accepted": 1})
        if path == "/runs":
            return self._list(request.url.params)
        if path == "/compare":
            runs = [self.runs[UUID(text)] for text in request.url.params.get_list("run")]
            return _answer(self.comparison.model_copy(update={"runs": runs}))
        if path == "/status":
            return httpx.Response(200, json={"version": "0.1.0", "database": "sqlite"})
        if path == "/events":
            answer = self.streams.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if found := re.fullmatch(r"/runs/([0-9a-f-]{36})(?:[/:](\w+))?", path):
            return self._run(request, UUID(found[1]), found[2])
        if found := re.fullmatch(r"/artifacts/([0-9a-f-]{36})(/content)?", path):
            return self._artifact(UUID(found[1]), found[2])
        return problem("not-found", 404, f"there is nothing at {path}")

    def _submit(self, body: dict[str, Any]) -> httpx.Response:
        if not self.runs:
            self.add(make_run())
        run = next(reversed(self.runs.values()))
        run = run.model_copy(update={"arguments": body.get("arguments", {})})
        self.runs[run.run_id] = run
        return _answer(run, 202)

    def _list(self, params: httpx.QueryParams) -> httpx.Response:
        runs = list(reversed(self.runs.values()))
        if params.get("submission_key"):
            runs = [run for run in runs if str(run.submission_key) == params["submission_key"]]
        if params.get("state"):
            runs = [run for run in runs if run.state in params.get_list("state")]
        begin = int(params.get("cursor", "0"))
        size = min(int(params.get("limit", self.page_size)), self.page_size)
        page = [run.model_dump(mode="json") for run in runs[begin : begin + size]]
        more = str(begin + size) if begin + size < len(runs) else None
        return httpx.Response(200, json={"items": page, "next_cursor": more})

    def _run(self, request: httpx.Request, run_id: UUID, part: str | None) -> httpx.Response:
        run = self.runs.get(run_id)
        if run is None:
            return problem("not-found", 404, f"there is no run {run_id}")
        if part is None:
            if "wait" in request.url.params and self.script[run_id]:
                change = self.script[run_id].pop(0)
                run = run.model_copy(update={"version": run.version + 1, **change})
                self.runs[run_id] = run
            return _answer(run)
        if part == "clear":
            cleared = {"dag_id": "etl", "dag_run_id": "r1", "tasks": ["load", "publish"]}
            return httpx.Response(202, json={"run_id": str(run_id), **cleared})
        if part in ("cancel", "retry"):
            state = {"cancel": "CANCELING", "retry": "RUNNING"}[part]
            self.runs[run_id] = run.model_copy(update={"state": state, "over": False})
            return _answer(self.runs[run_id], 202)
        if part == "reproduce":
            return self._reproduce(run, json.loads(request.content))
        if part == "metrics":
            return _answer(MetricsModel(scalars=self.metrics.get(run_id, [])))
        if part == "explain":
            explained = ExplainModel(
                run=run, inputs=self.inputs.get(run_id, []), unknown=["the image's digest"]
            )
            return _answer(explained)
        if part == "logs":
            task = request.url.params.get("task", "")
            if task not in self.log:
                return problem("not-found", 404, f"there is no log of {task}")
            skip = int(request.url.params.get("skip", "0"))
            return httpx.Response(200, content=self.log[task].encode()[skip:])
        items: list[Any] = list((self.tasks if part == "tasks" else self.artifacts).get(run_id, []))
        return httpx.Response(200, json={"items": [item.model_dump(mode="json") for item in items]})

    def _reproduce(self, run: RunModel, body: dict[str, Any]) -> httpx.Response:
        floats = {"kind": "image", "effect": "floating", "detail": "x:1 is a tag"}
        reasons = [{**floats, "name": "train"}, {**floats, "name": "evaluate"}]
        grade = ReproducibilityModel.model_validate({"grade": "same-spec", "reasons": reasons})
        if body["allow"] == "exact" and not body["dry_run"]:
            return problem("not-reproducible", 409, "same-spec only", errors={"/image": "x:1 is a tag"})
        made = None if body["dry_run"] else self.add(make_run(f"{run.display_name} again"))
        answer = ReproductionModel(reproducibility=grade, of=run.run_id, run=made)
        return _answer(answer, 202 if made else 200)

    def _artifact(self, artifact_id: UUID, content: str | None) -> httpx.Response:
        if content:
            if artifact_id not in self.content:
                return problem("not-found", 404, "there is no content")
            return httpx.Response(200, content=self.content[artifact_id])
        for artifacts in self.artifacts.values():
            for artifact in artifacts:
                if artifact.artifact_id == artifact_id:
                    return _answer(artifact)
        return problem("not-found", 404, f"there is no artifact {artifact_id}")


def _answer(model: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=model.model_dump(mode="json"))
