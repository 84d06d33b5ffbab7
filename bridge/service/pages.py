"""The first pages: the list of runs and one run, rendered on the server. They work without any script;
while a run goes on, a small one of the service's own brings them up to date in place."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BeforeValidator

from bridge.lineage import mirror, runs
from bridge.lineage.errors import CursorError, DatabaseUnavailable
from bridge.lineage.records import RunFilter
from bridge.service import views
from bridge.service.backends import trouble_of
from bridge.service.context import Context
from bridge.service.convert import is_over, task_model
from bridge.service.filters import RunQuery, to_filter, to_order
from bridge.service.problems import ProblemError, problem_response
from bridge.service.routes.common import ContextDep, present_all, require_token, stored_run
from bridge.service.routes.details import explained

PAGE_SIZE = 50
REFRESH_SECONDS = 3
_STATES = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "SKIPPED", "CANCELING", "PAUSED")
_NO_DATABASE = "the bridge's database does not answer; the page shows again when it does"
_BODY_HEADERS = ("content-length", "content-type")


class PageRoute(APIRoute):
    """A route for people: what goes wrong in it is told by a page, under the problem's own status.

    A program, which does not ask for HTML, gets the problem as everywhere else.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, with refusals as pages."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if "text/html" not in request.headers.get("accept", ""):
                return await handler(request)
            try:
                return await handler(request)
            except ProblemError as error:
                return _problem_page(error)
            except RequestValidationError as error:
                return _problem_page(_validation_problem(request, error))
            except DatabaseUnavailable:
                return _problem_page(
                    ProblemError("database-unavailable", _NO_DATABASE, retry_after_seconds=5)
                )

        return handle


router = APIRouter(include_in_schema=False, route_class=PageRoute)


async def require_page_token(request: Request, context: ContextDep) -> None:
    """As for reading the API, but without any credentials the browser is told to ask for them."""
    if context.settings.api_token is not None and "authorization" not in request.headers:
        raise ProblemError("unauthorized", "log in with the bridge's API token as password", basic=True)
    await require_token(request, context)


@router.get("/", response_class=HTMLResponse)
async def list_page(
    request: Request, context: ContextDep, query: Annotated[RunQuery, Query()], cursor: str | None = None
) -> Response:
    """The newest runs, with filters in the URL."""
    given = [(name, value) for name, value in request.query_params.multi_items() if _is_filter(name)]
    filters = [(name, value) for name, value in given if value.strip()]
    if len(filters) < len(given):
        # A form sends its empty fields too; the address that people pass on holds what was asked for.
        return RedirectResponse(_list_url(filters), status_code=302)
    where, order = to_filter(query), to_order(query)
    try:
        found, following = await context.store.read(
            lambda s: runs.list_runs(s, where, order=order, cursor=cursor, limit=PAGE_SIZE)
        )
    except CursorError as error:
        raise ProblemError("invalid-request", str(error)) from error
    active = any(not is_over(run) for run in found)
    return _page(
        "runs.html",
        runs=await present_all(context, request, found),
        state=_only(filters, "state").upper(),
        text=_only(filters, "text"),
        chips=_chips(filters),
        filtered=bool(filters),
        states=_STATES,
        newest_url=_list_url(filters) if cursor is not None else None,
        next_url=_list_url([*filters, ("cursor", following)]) if following else None,
        refresh=REFRESH_SECONDS if active and cursor is None else None,
        stale=_stale_backends(context),
        bridge_url=(context.settings.public_url or str(request.base_url)).rstrip("/"),
    )


@router.get("/runs/{run_id}", response_class=HTMLResponse)
async def run_page(request: Request, context: ContextDep, run_id: UUID) -> Response:
    """One run: its cause of failure, identity, metrics, tasks, data, artifacts, parameters."""
    run = await stored_run(context, run_id)
    backend = context.backends.get(run.backend)
    tasks = await context.store.read(lambda s: mirror.tasks_of(s, run_id))
    blobs = await context.store.read(lambda s: mirror.blobs_of(s, run_id))
    explanation = await explained(request, context, run_id)
    return _page(
        "run.html",
        run=explanation.run,
        tasks=views.task_rows([task_model(task) for task in tasks]),
        metrics=views.metric_groups(explanation.metrics),
        blobs=blobs,
        artifacts=views.artifact_rows(explanation.artifacts, {item.uri for item in explanation.inputs}),
        environment=views.environment_rows(explanation.images, explanation.packages),
        explanation=explanation,
        parameters=views.pretty(explanation.parameters),
        refresh=None if is_over(run) else REFRESH_SECONDS,
        trouble=trouble_of(backend.last_error if backend else None),
    )


def _unmapped(value: object) -> object:
    # Airflow's view leaves the placeholder as it is where a task is not mapped.
    return -1 if value == "{MAP_INDEX}" else value


@router.get("/go")
async def go(
    context: ContextDep,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    map_index: Annotated[int, BeforeValidator(_unmapped)] = -1,
) -> Response:
    """To the newest run of an Airflow task instance, or to the list of the DAG run's runs."""
    where = RunFilter(dag_id=dag_id, dag_run_id=dag_run_id, task_id=task_id, map_index=map_index)
    found, _ = await context.store.read(lambda s: runs.list_runs(s, where, limit=1))
    if found:
        return RedirectResponse(f"/runs/{found[0].run_id}", status_code=302)
    return RedirectResponse(_list_url([("dag_id", dag_id), ("dag_run_id", dag_run_id)]), status_code=302)


def _is_filter(name: str) -> bool:
    return name in RunQuery.model_fields


def _list_url(parameters: list[tuple[str, str]]) -> str:
    return f"/?{urlencode(parameters)}" if parameters else "/"


def _only(filters: list[tuple[str, str]], name: str) -> str:
    values = [value for key, value in filters if key == name]
    return values[0] if len(values) == 1 else ""


def _chips(filters: list[tuple[str, str]]) -> list[Mapping[str, str]]:
    """The filters that the form has no field for, each with the address of the list without it."""
    fields = [("state", state) for state in (_only(filters, "state"),) if state.upper() in _STATES]
    fields += [("text", _only(filters, "text"))]
    return [
        {"name": name, "value": value, "without": _list_url(filters[:index] + filters[index + 1 :])}
        for index, (name, value) in enumerate(filters)
        if (name, value) not in fields
    ]


def _stale_backends(context: Context) -> list[tuple[str, str]]:
    """The backends in trouble, each with what it does."""
    return [
        (name, trouble_of(backend.last_error))
        for name, backend in context.backends.items()
        if backend.stale_since is not None
    ]


def _validation_problem(request: Request, error: RequestValidationError) -> ProblemError:
    if "run_id" in request.path_params:
        return ProblemError("not-found", f"there is no run with the id {request.path_params['run_id']}")
    fields = [(f"/{item['loc'][-1]}", str(item["msg"])) for item in error.errors()]
    return ProblemError("invalid-request", "; ".join(f"{name}: {text}" for name, text in fields[:3]))


def _problem_page(error: ProblemError) -> Response:
    as_json = problem_response(error)
    headers = {name: value for name, value in as_json.headers.items() if name not in _BODY_HEADERS}
    html = _ENVIRONMENT.get_template("problem.html").render(problem=error.problem, refresh=None)
    return HTMLResponse(html, status_code=as_json.status_code, headers=headers)


def _page(template: str, **values: Any) -> HTMLResponse:
    html = _ENVIRONMENT.get_template(template).render(**values)
    return HTMLResponse(html, headers={"Cache-Control": "no-cache"})


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bridge.service"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=views.plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (views.duration, views.moment, views.ago, views.word, views.number)
    environment.filters.update({show.__name__: show for show in shown})
    return environment


_ENVIRONMENT = _environment()
