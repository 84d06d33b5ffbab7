"""The health of the backend, as KFP tells it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from bridge.local.routes.shared import PREFIX, answer

router = APIRouter()


@router.get(f"{PREFIX}/healthz")
async def healthz() -> Response:
    """Always healthy while it answers; single-user, and pipelines are kept in a database."""
    return answer({"multi_user": False, "pipeline_store": "database"})


@router.get(f"{PREFIX}/auth")
async def authorize(request: Request) -> Response:
    """Everything is allowed to whoever got here: there is one user."""
    return answer({})
