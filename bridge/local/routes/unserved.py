"""What KFP serves and this backend does not (yet): refused in KFP's shape, with a sentence that says so."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from bridge.local.routes.shared import PREFIX
from bridge.local.status import Code, StatusError

router = APIRouter(prefix=PREFIX)
_METHODS = ["GET", "POST", "DELETE"]


@router.api_route("/recurringruns", methods=_METHODS)
@router.api_route("/recurringruns/{rest:path}", methods=_METHODS)
async def recurring_runs(request: Request) -> Response:
    """RecurringRunService"""
    raise StatusError(
        Code.UNIMPLEMENTED,
        "The local backend does not serve recurring runs: let a scheduler such as Airflow create the runs",
    )


@router.post("/visualizations/{namespace}")
async def visualizations(request: Request, namespace: str) -> Response:
    """VisualizationService"""
    raise StatusError(Code.UNIMPLEMENTED, "The local backend does not make visualizations")
