"""``/compare``: what differs between runs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from bridge.client.comparison import CompareModel
from bridge.lineage.records import StoredSpec
from bridge.service.comparison import (
    MAX_RUNS,
    Side,
    blob_rows,
    read_sides,
    section_model,
    sections_of,
    unknown_of,
)
from bridge.service.problems import ProblemError
from bridge.service.routes.common import CallerDep, ContextDep, present_all, seen_run
from bridge.spec.load import Pipeline

router = APIRouter(tags=["runs"])


@router.get("/compare", response_model=CompareModel)
async def compare(
    request: Request,
    context: ContextDep,
    caller: CallerDep,
    run: Annotated[list[UUID], Query(min_length=2, max_length=MAX_RUNS, description="Two to five run ids.")],
) -> CompareModel:
    """Runs beside each other, in the order asked for: outcome, parameters, metrics, pipeline, images,
    packages, data and environment, differences first; ROC curves and confusion matrices."""
    if len(set(run)) < len(run):
        told = "a run cannot be compared with itself"
        raise ProblemError("invalid-request", told, errors=[("/run", told)])
    found = await context.store.read(lambda s: read_sides(s, run))
    sides: list[Side] = []
    for one, run_id in zip(found, run, strict=True):
        if isinstance(one, UUID):
            raise ProblemError("not-found", f"there is no run {one}")
        seen_run(caller, one.run, run_id)
        sides.append(one)
    pipelines = [await load_stored(request, side.spec) for side in sides]
    sections = sections_of(sides, pipelines)
    return CompareModel(
        runs=await present_all(context, request, [side.run for side in sides]),
        differing=[section.name for section in sections if section.differing],
        sections=[section_model(section) for section in sections],
        blobs=blob_rows(sides),
        unknown=unknown_of(sides, pipelines),
    )


async def load_stored(request: Request, spec: StoredSpec | None) -> Pipeline | None:
    """A stored pipeline; ``None`` if there is none, or if it was stored by a version with other limits:
    what it says is then unknown, not wrong."""
    if spec is None:
        return None
    try:
        loaded: Pipeline = await request.app.state.acceptance.pipelines.load(spec.text)
    except ProblemError:
        return None
    return loaded
