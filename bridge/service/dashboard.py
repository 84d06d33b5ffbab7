"""The dashboard: the built single page under the addresses of its routes, its assets, and ``/go``.

The page is built from ``bridge/dashboard`` into the folder ``web`` beside this module. A source tree in which
nobody has built it has the API all the same; the page then says what to do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BeforeValidator

from bridge.lineage import runs
from bridge.lineage.records import RunFilter
from bridge.service.access.places import prefix_of
from bridge.service.assets import NONCE_PLACE, KeptAssets, first_links
from bridge.service.limits import security_headers
from bridge.service.routes.common import CallerDep, ContextDep

WEB = Path(str(files("bridge.service"))) / "web"
# Where the build leaves a place for the path of ``public_url``.
BASE_PLACE = "kfbridge-base-path"
# Each route, and the source of its page.
ROUTES = {
    "/": "runs/RunsPage",
    "/runs/{run_id}": "run/RunPage",
    "/pipelines": "pipelines/PipelinesPage",
    "/pipelines/{name}": "pipeline/PipelinePage",
    "/compare": "compare/ComparePage",
    "/lineage": "lineage/LineagePage",
    "/cost": "cost/CostPage",
    "/oncall": "oncall/OnCallPage",
    "/artifacts": "artifacts/ArtifactsPage",
    "/artifacts/{artifact_id}": "artifacts/ArtifactPage",
    "/backends": "status/StatusPage",
}
# What the page of the runs asks first. Asked along with its scripts, it is there when they are.
FIRST_QUESTION = "/api/v1/runs?limit=50&metrics=3"
_NOT_BUILT = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>The dashboard is not built</title></head><body><main><h1>The dashboard is not built</h1>
<p>This service runs from a source tree. Build its pages once with</p><pre>make dashboard</pre>
<p>and load this page again. The API works without them: <a href="/api/v1/runs">/api/v1/runs</a>.</p>
</main></body></html>"""

router = APIRouter(include_in_schema=False)


def page_of(route: str) -> Callable[..., Response]:
    """What answers a route: the dashboard's page, the same for each but for what is loaded first."""

    def page(request: Request, context: ContextDep) -> Response:
        index = WEB / "index.html"
        if not index.is_file():
            return HTMLResponse(_NOT_BUILT, status_code=503, headers={"Cache-Control": "no-store"})
        nonce = secrets.token_urlsafe(16)
        policy = security_headers(context.settings.airflow_url, style_nonce=nonce)
        prefix = prefix_of(context.settings.public_url)
        first = first_links(WEB, f"src/pages/{ROUTES[route]}.tsx")
        if route == "/" and not request.url.query:
            first = f'<link rel="preload" as="fetch" crossorigin href="{prefix}{FIRST_QUESTION}">{first}'
        text = index.read_text(encoding="utf-8").replace("</head>", f"{first}</head>", 1)
        # A deep link is asked for at other depths than the files lie.
        text = text.replace(NONCE_PLACE, nonce).replace(BASE_PLACE, prefix)
        return HTMLResponse(
            text.replace('"./assets/', f'"{prefix}/assets/'),
            headers={"Cache-Control": "no-store"} | {name.decode(): value.decode() for name, value in policy},
        )

    return page


for _route in ROUTES:
    router.add_api_route(_route, page_of(_route), response_class=HTMLResponse)


def _unmapped(value: object) -> object:
    # Airflow's view leaves the placeholder as it is where a task is not mapped.
    return -1 if value == "{MAP_INDEX}" else value


@router.get("/go")
async def go(
    context: ContextDep,
    caller: CallerDep,
    *,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    map_index: Annotated[int, BeforeValidator(_unmapped)] = -1,
) -> Response:
    """To the newest run of an Airflow task instance, or to the list of the DAG run's runs."""
    where = RunFilter(
        dag_id=dag_id,
        dag_run_id=dag_run_id,
        task_id=task_id,
        map_index=map_index,
        projects=caller.projects,
    )
    found, _ = await context.store.read(lambda s: runs.list_runs(s, where, limit=1))
    prefix = prefix_of(context.settings.public_url)
    if found:
        return RedirectResponse(f"{prefix}/runs/{found[0].run_id}", status_code=302)
    query = urlencode({"dag_id": dag_id, "dag_run_id": dag_run_id})
    return RedirectResponse(f"{prefix}/?{query}", status_code=302)


def mount_assets(app: FastAPI) -> None:
    """Serve the built files below ``/assets``."""
    app.mount("/assets", KeptAssets(WEB / "assets"), name="assets")
