"""The routes of the API as functions that make calls; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from bridge.client.comparison import CompareModel
from bridge.client.costs import CostModel, RunCostModel
from bridge.client.history import ArtifactBrief, PipelineDetailModel, TrendModel
from bridge.client.lineage import ExplainModel, LineageGraphModel
from bridge.client.models import (
    AliasRequest,
    ArtifactModel,
    CancelRequest,
    ClearedModel,
    MetricsModel,
    Page,
    PipelineAliasModel,
    PipelineModel,
    RegisterRequest,
    RunModel,
    SubmitRequest,
    TaskModel,
)
from bridge.client.oncall import OnCallModel
from bridge.client.reproduction import ReproduceRequest, ReproductionModel
from bridge.client.status import BackendStatus, PauseRequest, QuarantineModel, StatusModel
from bridge.client.wire import Call, model_reader, page_reader, read_nothing, read_text
from bridge.domain.tracing import TRACEPARENT, current_traceparent

RunId = UUID | str
# How often the bridge sends a sign of life on an idle event stream.
_HEARTBEAT_SECONDS = 15.0
_RUN = model_reader(RunModel)
# A header, not a member of the body: a service that does not know it yet lets it pass.
WAITS_HEADER = "KFBridge-Waits"

# The bridge ends a log that is silent for so long.
_LOG_SILENCE_SECONDS = 300.0


def submit(request: SubmitRequest, idempotency_key: str | None, *, waits: bool = False) -> Call[RunModel]:
    """``POST /runs``; ``waits`` says that the caller will wait for the run."""
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    if waits:
        headers[WAITS_HEADER] = "true"
    if (traceparent := current_traceparent()) is not None:
        headers[TRACEPARENT] = traceparent
    body = request.model_dump(mode="json", exclude_none=True)
    # None is a value of an argument (an optional parameter set to nothing), unlike everywhere else.
    body["arguments"] = request.model_dump(mode="json", include={"arguments"})["arguments"]
    if not request.skip_if_unchanged:
        # A service that does not know the field yet refuses it.
        del body["skip_if_unchanged"]
    if not request.text_arguments:
        del body["text_arguments"]
    return Call(method="POST", path="/runs", parse=_RUN, body=body, headers=headers)


def get_run(run_id: RunId, wait_seconds: float | None, version: int | None) -> Call[RunModel]:
    """``GET /runs/{id}``, as a long-poll if ``wait_seconds`` is given."""
    params: dict[str, str] = {}
    if wait_seconds:
        params["wait"] = f"{wait_seconds:g}s"
    if version is not None:
        params["version"] = str(version)
    return Call(method="GET", path=_run(run_id), parse=_RUN, params=params, wait_seconds=wait_seconds or 0.0)


def list_runs(limit: int | None, cursor: str | None, filters: Mapping[str, Any]) -> Call[Page[RunModel]]:
    """``GET /runs``."""
    params = {name: _param(value) for name, value in filters.items() if value is not None}
    if limit is not None:
        params["limit"] = str(limit)
    if cursor is not None:
        params["cursor"] = cursor
    return Call(method="GET", path="/runs", parse=page_reader(RunModel), params=params)


def tasks(run_id: RunId, cursor: str | None = None) -> Call[Page[TaskModel]]:
    """``GET /runs/{id}/tasks``."""
    path = f"{_run(run_id)}/tasks"
    return Call(method="GET", path=path, parse=page_reader(TaskModel), params=_cursor(cursor))


def artifacts(run_id: RunId, cursor: str | None = None) -> Call[Page[ArtifactModel]]:
    """``GET /runs/{id}/artifacts``."""
    path = f"{_run(run_id)}/artifacts"
    return Call(method="GET", path=path, parse=page_reader(ArtifactModel), params=_cursor(cursor))


def list_artifacts(
    limit: int | None, cursor: str | None, filters: Mapping[str, Any]
) -> Call[Page[ArtifactBrief]]:
    """``GET /artifacts``."""
    params = {name: _param(value) for name, value in filters.items() if value is not None}
    if limit is not None:
        params["limit"] = str(limit)
    return Call(
        method="GET", path="/artifacts", parse=page_reader(ArtifactBrief), params=params | _cursor(cursor)
    )


def metrics(run_id: RunId) -> Call[MetricsModel]:
    """``GET /runs/{id}/metrics``."""
    return Call(method="GET", path=f"{_run(run_id)}/metrics", parse=model_reader(MetricsModel))


def explain(run_id: RunId) -> Call[ExplainModel]:
    """``GET /runs/{id}/explain``."""
    return Call(method="GET", path=f"{_run(run_id)}/explain", parse=model_reader(ExplainModel))


def compare(run_ids: Sequence[RunId]) -> Call[CompareModel]:
    """``GET /compare``."""
    params = {"run": [str(run_id) for run_id in run_ids]}
    return Call(method="GET", path="/compare", parse=model_reader(CompareModel), params=params)


def spec(run_id: RunId) -> Call[str]:
    """``GET /runs/{id}/spec``."""
    return Call(method="GET", path=f"{_run(run_id)}/spec", parse=read_text)


def logs(run_id: RunId, task: str | None) -> Call[str]:
    """``GET /runs/{id}/logs``."""
    params = {} if task is None else {"task": task}
    return Call(method="GET", path=f"{_run(run_id)}/logs", parse=read_text, params=params)


def followed_log(run_id: RunId, task: str, skip: int) -> Call[None]:
    """``GET /runs/{id}/logs?follow=true``, to be streamed; the bridge ends it after five silent minutes."""
    return Call(
        method="GET",
        path=f"{_run(run_id)}/logs",
        parse=read_nothing,
        params={"task": task, "follow": "true", "skip": str(skip)},
        wait_seconds=_LOG_SILENCE_SECONDS,
    )


def cancel(run_id: RunId, request: CancelRequest) -> Call[RunModel]:
    """``POST /runs/{id}:cancel``."""
    body = request.model_dump(mode="json", exclude_none=True)
    return Call(method="POST", path=f"{_run(run_id)}:cancel", parse=_RUN, body=body)


def list_quarantine(backend: str | None) -> Call[Page[QuarantineModel]]:
    """``GET /quarantine``."""
    params = {} if backend is None else {"backend": backend}
    return Call(method="GET", path="/quarantine", parse=page_reader(QuarantineModel), params=params)


def release_quarantined(number: int) -> Call[QuarantineModel]:
    """``POST /quarantine/{number}:release``."""
    return Call(method="POST", path=f"/quarantine/{number}:release", parse=model_reader(QuarantineModel))


def pause_backend(name: str, request: PauseRequest) -> Call[BackendStatus]:
    """``POST /backends/{name}:pause``."""
    path = f"/backends/{quote(name, safe='')}:pause"
    body = request.model_dump(mode="json", exclude_none=True)
    return Call(method="POST", path=path, parse=model_reader(BackendStatus), body=body)


def resume_backend(name: str) -> Call[BackendStatus]:
    """``POST /backends/{name}:resume``."""
    path = f"/backends/{quote(name, safe='')}:resume"
    return Call(method="POST", path=path, parse=model_reader(BackendStatus), body={})


def retry(run_id: RunId) -> Call[RunModel]:
    """``POST /runs/{id}:retry``."""
    return Call(method="POST", path=f"{_run(run_id)}:retry", parse=_RUN, body={})


def clear(run_id: RunId) -> Call[ClearedModel]:
    """``POST /runs/{id}:clear``."""
    return Call(method="POST", path=f"{_run(run_id)}:clear", parse=model_reader(ClearedModel), body={})


def reproduce(run_id: RunId, request: ReproduceRequest, key: str | None) -> Call[ReproductionModel]:
    """``POST /runs/{id}:reproduce``."""
    headers = {"Idempotency-Key": key} if key else {}
    path, read = f"{_run(run_id)}:reproduce", model_reader(ReproductionModel)
    return Call(method="POST", path=path, parse=read, body=request.model_dump(mode="json"), headers=headers)


def pipelines(cursor: str | None = None) -> Call[Page[PipelineModel]]:
    """``GET /pipelines``."""
    return Call(method="GET", path="/pipelines", parse=page_reader(PipelineModel), params=_cursor(cursor))


def pipeline(name: str, project: str, cursor: str | None, limit: int | None) -> Call[PipelineDetailModel]:
    """``GET /pipelines/{name}``."""
    params = {"project": project, **_cursor(cursor), **_given(limit=limit)}
    path = f"/pipelines/{_segment(name)}"
    return Call(method="GET", path=path, parse=model_reader(PipelineDetailModel), params=params)


def trend(pipeline: str, name: str, project: str, options: Mapping[str, Any]) -> Call[TrendModel]:
    """``GET /pipelines/{name}/metrics``."""
    params = {"name": name, "project": project, **_given(**options)}
    path = f"/pipelines/{_segment(pipeline)}/metrics"
    return Call(method="GET", path=path, parse=model_reader(TrendModel), params=params)


def register_pipeline(spec: str, version: str | None, project: str) -> Call[PipelineModel]:
    """``POST /pipelines``."""
    body = RegisterRequest(spec=spec, version=version).model_dump(mode="json", exclude_none=True)
    params = {"project": project}
    return Call(method="POST", path="/pipelines", parse=model_reader(PipelineModel), body=body, params=params)


def aliases(pipeline: str, project: str) -> Call[Page[PipelineAliasModel]]:
    """``GET /pipelines/{name}/aliases``."""
    path = f"/pipelines/{_segment(pipeline)}/aliases"
    return Call(method="GET", path=path, parse=page_reader(PipelineAliasModel), params={"project": project})


def alias(pipeline: str, name: str, project: str) -> Call[PipelineAliasModel]:
    """``GET /pipelines/{name}/aliases/{alias}``."""
    read = model_reader(PipelineAliasModel)
    return Call(method="GET", path=_alias(pipeline, name), parse=read, params={"project": project})


def set_alias(
    pipeline: str, name: str, digest: str | None, version: str | None, project: str
) -> Call[PipelineAliasModel]:
    """``PUT /pipelines/{name}/aliases/{alias}``."""
    body = AliasRequest(digest=digest, version=version).model_dump(mode="json", exclude_none=True)
    read = model_reader(PipelineAliasModel)
    params = {"project": project}
    return Call(method="PUT", path=_alias(pipeline, name), parse=read, body=body, params=params)


def remove_alias(pipeline: str, name: str, project: str) -> Call[None]:
    """``DELETE /pipelines/{name}/aliases/{alias}``."""
    params = {"project": project}
    return Call(method="DELETE", path=_alias(pipeline, name), parse=read_nothing, params=params)


def artifact(artifact_id: UUID | str) -> Call[ArtifactModel]:
    """``GET /artifacts/{id}``."""
    return Call(method="GET", path=f"/artifacts/{_segment(artifact_id)}", parse=model_reader(ArtifactModel))


def artifact_content(artifact_id: UUID | str) -> Call[None]:
    """``GET /artifacts/{id}/content``, to be streamed."""
    return Call(method="GET", path=f"/artifacts/{_segment(artifact_id)}/content", parse=read_nothing)


def lineage(node: str, direction: str, depth: int | None, nodes: int | None) -> Call[LineageGraphModel]:
    """``GET /lineage``."""
    given = {"node": node, "direction": direction, "depth": depth, "nodes": nodes}
    params = {name: str(value) for name, value in given.items() if value is not None}
    return Call(method="GET", path="/lineage", parse=model_reader(LineageGraphModel), params=params)


def post_lineage(events: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Call[None]:
    """``POST /lineage``: one OpenLineage event or several."""
    body = dict(events) if isinstance(events, Mapping) else [dict(event) for event in events]
    return Call(method="POST", path="/lineage", parse=read_nothing, body=body)


def cost(by: str, options: Mapping[str, Any]) -> Call[CostModel]:
    """``GET /cost``."""
    params = {"by": by, **_given(**options)}
    return Call(method="GET", path="/cost", parse=model_reader(CostModel), params=params)


def run_cost(run_id: RunId) -> Call[RunCostModel]:
    """``GET /runs/{id}/cost``."""
    return Call(method="GET", path=f"{_run(run_id)}/cost", parse=model_reader(RunCostModel))


def oncall(window: str, project: str | None) -> Call[OnCallModel]:
    """``GET /oncall``."""
    params = _given(window=window, project=project)
    return Call(method="GET", path="/oncall", parse=model_reader(OnCallModel), params=params)


def status() -> Call[StatusModel]:
    """``GET /status``."""
    return Call(method="GET", path="/status", parse=model_reader(StatusModel))


def events(last_id: int | None) -> Call[None]:
    """``GET /events``, to be streamed."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
    if last_id is not None:
        headers["Last-Event-ID"] = str(last_id)
    silent_seconds = 3 * _HEARTBEAT_SECONDS
    return Call(
        method="GET", path="/events", parse=read_nothing, headers=headers, wait_seconds=silent_seconds
    )


def _given(**values: Any) -> dict[str, Any]:
    return {name: _param(value) for name, value in values.items() if value is not None}


def _cursor(cursor: str | None) -> dict[str, str]:
    return {} if cursor is None else {"cursor": cursor}


def _run(run_id: RunId) -> str:
    return f"/runs/{_segment(run_id)}"


def _alias(pipeline: str, name: str) -> str:
    return f"/pipelines/{_segment(pipeline)}/aliases/{_segment(name)}"


def _segment(value: UUID | str) -> str:
    text = str(value)
    if not text.strip("."):
        raise ValueError(f"{text!r} is no id")
    return quote(text, safe="")


def _param(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple | set | frozenset):
        return [_param(item) for item in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
