"""The health of the backend, as KFP tells it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from bridge.local.routes.shared import PREFIX, answer

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


@router.get(f"{PREFIX}/auth")
async def authorize(request: Request) -> Response:
    """Everything is allowed to whoever got here: there is one user."""
    return answer({})
