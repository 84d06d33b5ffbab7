"""The health of the backend, as KFP tells it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from bridge.local.routes.shared import PREFIX, answer
from bridge.local.status import invalid

router = APIRouter()

_LANDING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>kfbridge local</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"></head>
<body><h1>kfbridge local</h1>
<p>This is the local backend: it speaks the API of Kubeflow Pipelines and has no pages of its own.
The bridge's pages show its runs, their tasks, artifacts and logs.</p>
</body></html>
"""


@router.get("/")
async def landing() -> Response:
    """Where links to the KFP UI lead when the backend is this one, which has none."""
    return HTMLResponse(_LANDING, headers={"Content-Security-Policy": "default-src 'none'"})


@router.get(f"{PREFIX}/healthz")
async def healthz() -> Response:
    """Always healthy while it answers; single-user, and pipelines are kept in a database."""
    return answer({"multi_user": False, "pipeline_store": "database"})


@router.get("/apis/v1beta1/healthz")
async def healthz_v1() -> Response:
    """What older clients ask for."""
    return answer({"multi_user": False})


@router.get(f"{PREFIX}/auth")
async def authorize(request: Request) -> Response:
    """Everything that is asked for in full is allowed to whoever got here: there is one user."""
    query = request.query_params
    if not query.get("namespace"):
        raise invalid("Authorize request is not valid: Namespace is empty. Please specify a valid namespace")
    if query.get("resources", "UNASSIGNED_RESOURCES") not in ("VIEWERS", "1"):
        raise invalid(
            "Authorize request is not valid: Resources not specified. Please specify a valid resources"
        )
    if query.get("verb", "UNASSIGNED_VERB") not in ("CREATE", "GET", "DELETE", "1", "2", "3"):
        raise invalid("Authorize request is not valid: Verb not specified. Please specify a valid verb")
    return answer({})
