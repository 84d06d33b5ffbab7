"""The first pages: the list of runs and one run, rendered on the server, without any script."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from bridge.client.models import ExplainModel, RunModel
from bridge.domain.lineage import Direction
from bridge.lineage import mirror, runs
from bridge.lineage.errors import CursorError
from bridge.lineage.records import RunFilter
from bridge.service.context import Context
from bridge.service.convert import is_over, task_model
from bridge.service.filters import RunQuery, to_filter
from bridge.service.problems import ProblemError
from bridge.service.routes.common import ContextDep, check_token, present, require_token, stored_run
from bridge.service.routes.details import explained

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50
REFRESH_SECONDS = 3
_FILTER_NAMES = ("state", "pipeline", "text", "dag_id", "dag_run_id", "task_id", "project", "backend")
_STATES = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "SKIPPED", "CANCELING", "PAUSED")
_ICONS: Mapping[str, str] = {
    "PENDING": "◷",
    "RUNNING": "▶",
    "SUCCEEDED": "✓",
    "SKIPPED": "↷",
    "FAILED": "✕",
    "CANCELING": "◌",
    "CANCELED": "⊘",
    "PAUSED": "‖",
}
_SECONDS_PER = ((86400, "d"), (3600, "h"), (60, "min"))


@dataclass(frozen=True, slots=True)
class ShownArtifact:
    """An artifact as a row: which task made or read it under which key."""

    artifact_id: UUID
    type: str
    uri: str | None
    name: str | None
    key: str
    direction: str


async def require_page_token(request: Request, context: ContextDep) -> None:
    """Pages take the token as the API does, and as the password of a browser's own login dialog."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        check_token(context, _password(given))
    elif scheme or context.settings.api_token is None:
        await require_token(request, context)
    else:
        raise ProblemError("unauthorized", "log in with the bridge's API token as password", basic=True)


def _password(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


@router.get("/", response_class=HTMLResponse)
async def list_page(
    request: Request, context: ContextDep, query: Annotated[RunQuery, Query()], cursor: str | None = None
) -> Response:
    """The newest runs, with filters in the URL."""
    where = to_filter(query)
    try:
        found, following = await context.store.read(
            lambda s: runs.list_runs(s, where, cursor=cursor, limit=PAGE_SIZE)
        )
    except CursorError as error:
        raise ProblemError("invalid-request", str(error)) from error
    shown = [present(context, request, run) for run in found]
    filters = {name: request.query_params.get(name, "") for name in _FILTER_NAMES}
    active = any(not is_over(run) for run in found)
    return _page(
        "runs.html",
        runs=shown,
        filters=filters,
        filtered=any(filters.values()),
        states=_STATES,
        next_url=_next_url(filters, following),
        refresh=REFRESH_SECONDS if active and cursor is None else None,
        stale=_stale_backends(context),
    )


@router.get("/runs/{run_id}", response_class=HTMLResponse)
async def run_page(request: Request, context: ContextDep, run_id: UUID) -> Response:
    """One run: identity, cause, tasks, metrics, artifacts, data, parameters."""
    run = await stored_run(context, run_id)
    tasks = await context.store.read(lambda s: mirror.tasks_of(s, run_id))
    blobs = await context.store.read(lambda s: mirror.blobs_of(s, run_id))
    explanation = await explained(request, context, run_id)
    return _page(
        "run.html",
        run=explanation.run,
        tasks=[task_model(task) for task in tasks if task.path],
        blobs=blobs,
        artifacts=_artifacts(explanation),
        explanation=explanation,
        parameters=_pretty(explanation.parameters),
        refresh=None if is_over(run) else REFRESH_SECONDS,
    )


@router.get("/go")
async def go(
    context: ContextDep,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    map_index: int = -1,
) -> Response:
    """To the newest run of an Airflow task instance, or to the list of the DAG run's runs."""
    where = RunFilter(dag_id=dag_id, dag_run_id=dag_run_id, task_id=task_id, map_index=map_index)
    found, _ = await context.store.read(lambda s: runs.list_runs(s, where, limit=1))
    if found:
        return RedirectResponse(f"/runs/{found[0].run_id}", status_code=302)
    query = urlencode({"dag_id": dag_id, "dag_run_id": dag_run_id})
    return RedirectResponse(f"/?{query}", status_code=302)


def duration(run: RunModel) -> str:
    """How long the run took so far, in words."""
    begin = run.started_at or run.submitted_at
    if begin is None:
        return ""
    return span((run.finished_at or datetime.now(UTC)) - begin if not run.over or run.finished_at else None)


def span(value: Any) -> str:
    """A length of time in words."""
    if value is None:
        return ""
    seconds = max(0.0, value.total_seconds())
    for size, unit in _SECONDS_PER:
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            smaller = {86400: (3600, "h"), 3600: (60, "min"), 60: (1, "s")}[size]
            return f"{whole} {unit} {rest // smaller[0]} {smaller[1]}"
    return f"{seconds:.1f} s"


def moment(value: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else ""


def icon(state: str) -> str:
    """The sign that stands beside a state's word."""
    return _ICONS.get(state, "?")


def _artifacts(explanation: ExplainModel) -> list[ShownArtifact]:
    rows = [
        ShownArtifact(
            artifact_id=one.artifact_id,
            type=one.type,
            uri=one.uri,
            name=one.name,
            key=f"{use.task_path}.{use.key}" if use.task_path else use.key,
            direction=use.direction,
        )
        for one in explanation.artifacts
        for use in one.uses
    ]
    made = [row for row in rows if row.direction == Direction.OUTPUT.value]
    known = {row.artifact_id for row in made}
    return made + [row for row in rows if row.artifact_id not in known]


def _pretty(parameters: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1))
        for name, value in sorted(parameters.items())
    ]


def _next_url(filters: Mapping[str, str], cursor: str | None) -> str | None:
    if cursor is None:
        return None
    given = {name: value for name, value in filters.items() if value}
    return f"/?{urlencode({**given, 'cursor': cursor})}"


def _stale_backends(context: Context) -> list[str]:
    return [name for name, backend in context.backends.items() if backend.stale_since is not None]


def _page(template: str, **values: Any) -> HTMLResponse:
    html = _ENVIRONMENT.get_template(template).render(**values)
    return HTMLResponse(html, headers={"Cache-Control": "no-cache"})


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bridge.service"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(duration=duration, moment=moment, icon=icon, span=span)
    return environment


_ENVIRONMENT = _environment()
