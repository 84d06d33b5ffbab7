"""``/pipelines``: the pipelines the bridge knows."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from bridge.client.models import Page, PipelineModel
from bridge.lineage import specs
from bridge.lineage.errors import CursorError
from bridge.service.problems import ProblemError
from bridge.service.routes.common import MAX_LIMIT, ContextDep

router = APIRouter(tags=["pipelines"])


@router.get("/pipelines", response_model=Page[PipelineModel])
async def list_pipelines(
    context: ContextDep,
    project: Annotated[list[str] | None, Query()] = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
) -> Page[PipelineModel]:
    """Pipelines by name, each with the digest of its newest version."""
    try:
        found, following = await context.store.read(
            lambda s: specs.list_pipelines(s, tuple(project or ()), cursor=cursor, limit=limit)
        )
    except CursorError as error:
        raise ProblemError("invalid-request", str(error), errors=[("/cursor", str(error))]) from error
    items = [PipelineModel(name=one.name, digest=one.digest or "") for one in found]
    return Page(items=items, next_cursor=following)
