"""What KFP serves to others than its users: refused in KFP's shape, with a sentence that says so."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from bridge.local.requests import VisualizationMessage, read_message
from bridge.local.routes.shared import PREFIX
from bridge.local.status import Code, StatusError, invalid

router = APIRouter(prefix=PREFIX)


@router.post("/visualizations/{namespace}")
async def visualizations(request: Request, namespace: str) -> Response:
    """VisualizationService: like a KFP that is installed without it"""
    message = read_message(await request.body(), VisualizationMessage)
    if not message.source.strip():
        raise invalid("A visualization requires a Source to be provided. Received none")
    raise StatusError(Code.FAILED_PRECONDITION, "The local backend does not make visualizations")


@router.post("/workflows")
async def report_workflow(request: Request) -> Response:
    """ReportService: what KFP's persistence agent says of Workflows, of which there are none here"""
    raise invalid("Report workflow failed: the local backend runs no Argo Workflows")


@router.post("/scheduledworkflows")
async def report_scheduled_workflow(request: Request) -> Response:
    """ReportService: what KFP's persistence agent says of ScheduledWorkflows, of which there are none here"""
    raise invalid("Report scheduled workflow failed: the local backend keeps recurring runs by itself")
