"""What a run consists of: tasks, artifacts, metrics, logs, and how it came to be."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from sqlmodel import Session

from bridge.client.lineage import BundleModel, ExplainInput, ExplainModel
from bridge.client.models import (
    ArtifactModel,
    EventModel,
    MetricsModel,
    Page,
    PlannedTaskModel,
    TaskModel,
)
from bridge.domain.explain import Explanation
from bridge.domain.lineage import Task
from bridge.domain.redaction import redact_named, redact_uri
from bridge.lineage import explain, mirror, outbox, specs
from bridge.lineage.jobs import bundle_of
from bridge.service import tasklogs
from bridge.service.access.caller import Caller
from bridge.service.context import Context
from bridge.service.convert import (
    artifact_model,
    blob_model,
    event_model,
    job_run_model,
    metric_model,
    origin_model,
    shown_causes,
    task_model,
)
from bridge.service.describing import any_content
from bridge.service.problems import ProblemError
from bridge.service.reproducing import QUICK_BYTES, Recipe, graded, read_recipe
from bridge.service.routes.common import (
    MAX_LIMIT,
    CallerDep,
    ContextDep,
    get_caller,
    present_whole,
    seen_run,
    stored_causes,
    stored_run,
)
from bridge.service.routes.compare import load_stored
from bridge.service.shape import planned_tasks
from bridge.service.workers.cause import failed_tasks

router = APIRouter(tags=["runs"])


@router.get("/runs/{run_id}/tasks", response_model=Page[TaskModel])
async def tasks(context: ContextDep, caller: CallerDep, run_id: UUID) -> Page[TaskModel]:
    """The run's tasks as far as they are mirrored; the root DAG has the path ``""``."""
    run = await stored_run(context, caller, run_id)
    found = await context.store.read(lambda s: mirror.tasks_of(s, run_id))
    causes = shown_causes(run, await stored_causes(context, run))
    return Page(items=[task_model(task, causes) for task in found])


@router.get("/runs/{run_id}/artifacts", response_model=Page[ArtifactModel])
async def artifacts(context: ContextDep, caller: CallerDep, run_id: UUID) -> Page[ArtifactModel]:
    """The artifacts that tasks of the run read and wrote, each with its uses within the run."""
    await stored_run(context, caller, run_id)
    found = await context.store.read(lambda s: mirror.artifacts_of(s, run_id))
    return Page(items=[artifact_model(one, [(run_id, use) for use in one.uses]) for one in found])


@router.get("/runs/{run_id}/metrics", response_model=MetricsModel)
async def metrics(context: ContextDep, caller: CallerDep, run_id: UUID) -> MetricsModel:
    """The run's metrics: scalars, and blobs such as ROC curves."""
    await stored_run(context, caller, run_id)
    scalars = await context.store.read(lambda s: mirror.metrics_of(s, run_id))
    blobs = await context.store.read(lambda s: mirror.blobs_of(s, run_id))
    return MetricsModel(
        scalars=[metric_model(metric) for metric in scalars], blobs=[blob_model(blob) for blob in blobs]
    )


@router.get("/runs/{run_id}/events", response_model=Page[EventModel])
async def run_events(
    context: ContextDep,
    caller: CallerDep,
    run_id: UUID,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="Only events with a higher number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
) -> Page[EventModel]:
    """What happened to the run, oldest first: numbered events as ``GET /events`` streams them. The cursor is
    the number to go on ``after``."""
    await stored_run(context, caller, run_id)
    found = await context.store.read(lambda s: outbox.events_after(s, after, limit + 1, run_id=run_id))
    following = str(found[limit - 1].number) if len(found) > limit else None
    return Page(items=[event_model(one) for one in found[:limit]], next_cursor=following)


@router.get("/runs/{run_id}/explain", response_model=ExplainModel)
async def explain_run(request: Request, context: ContextDep, caller: CallerDep, run_id: UUID) -> ExplainModel:
    """Which DAG run, data, parameters, code and environment made the run, and what came out of it."""
    return await explained(request, context, caller, run_id)


async def explained(request: Request, context: Context, caller: Caller, run_id: UUID) -> ExplainModel:
    """The explanation of a run, or a ``not-found`` problem."""

    def read(session: Session) -> tuple[Explanation, Recipe, BundleModel | None] | None:
        found, recipe = explain.explain_run(session, run_id), read_recipe(session, run_id)
        if found is None or recipe is None:
            return None
        asked = found.run.origin.lineage
        bundle = bundle_of(session, found.run.project, asked.run_id) if asked else None
        return found, recipe, BundleModel(name=bundle[0], version=bundle[1]) if bundle else None

    found = await context.store.read(read)
    if found is None:
        raise ProblemError("not-found", f"there is no run {run_id}")
    explanation, recipe, bundle = found
    seen_run(caller, explanation.run, run_id)
    pipeline = await load_stored(request, recipe.spec)
    graded_run = await graded(context, recipe, pipeline, most_bytes=QUICK_BYTES)
    origin = explanation.run.origin
    return ExplainModel(
        run=await present_whole(context, request, explanation.run),
        parent=origin_model(origin) if origin.is_task_instance else None,
        ancestors=[job_run_model(one) for one in explanation.ancestors],
        inputs=[
            ExplainInput(
                name=item.name,
                dataset_id=item.dataset_id,
                uri=redact_uri(item.uri),
                version=item.version,
                version_kind=item.version_kind,
                rows=item.rows,
                bytes=item.bytes,
                written_at=item.written_at,
                producer=origin_model(item.producer) if item.producer else None,
            )
            for item in explanation.inputs
        ],
        parameters=redact_named(explanation.parameters),
        images=dict(pipeline.images) if pipeline else {},
        packages={name: list(found) for name, found in pipeline.packages.items()} if pipeline else {},
        models=[artifact_model(one, [(run_id, use) for use in one.uses]) for one in explanation.models],
        artifacts=[artifact_model(one, [(run_id, use) for use in one.uses]) for one in explanation.artifacts],
        metrics=[metric_model(metric) for metric in explanation.metrics],
        spec_digest=explanation.run.pipeline.digest,
        caching=recipe.submission.caching if recipe.submission else None,
        backend=explanation.run.backend,
        bundle=bundle,
        reproducibility=graded_run.model,
        unknown=[
            *explanation.unknown,
            *([] if pipeline else ["the compiled pipeline, so images and packages too"]),
            # KFP's API (v2beta1) does not tell it of itself, nor of the time of a run.
            f"the version of backend {explanation.run.backend}",
        ],
    )


@router.get(
    "/runs/{run_id}/spec", response_class=Response, responses=any_content("application/yaml", "The pipeline.")
)
async def spec(context: ContextDep, caller: CallerDep, run_id: UUID) -> PlainTextResponse:
    """The compiled pipeline that the run runs, as YAML (of which JSON is a part)."""
    run = await stored_run(context, caller, run_id)
    stored = await context.store.read(lambda s: specs.get_spec(s, run.project, run.pipeline.digest))
    if stored is None:
        raise ProblemError("not-found", f"the compiled pipeline of run {run_id} is not known here")
    return PlainTextResponse(stored.text, media_type="application/yaml")


@router.get("/runs/{run_id}/plan", response_model=Page[PlannedTaskModel])
async def plan(
    request: Request, context: ContextDep, caller: CallerDep, run_id: UUID
) -> Page[PlannedTaskModel]:
    """The tasks that the compiled pipeline names, and which waits for which; none if it is not known."""
    run = await stored_run(context, caller, run_id)
    stored = await context.store.read(lambda s: specs.get_spec(s, run.project, run.pipeline.digest))
    pipeline = await load_stored(request, stored)
    return Page(items=planned_tasks(pipeline) if pipeline else [])


@router.get("/runs/{run_id}/logs", response_class=PlainTextResponse)
async def logs(
    request: Request,
    context: ContextDep,
    caller: CallerDep,
    run_id: UUID,
    *,
    task: Annotated[
        str | None, Query(description="A task's path; default: the failed one, or the only one.")
    ] = None,
    follow: Annotated[bool, Query(description="Go on until the task has ended.")] = False,
    skip: Annotated[
        int | None,
        Query(ge=0, le=2**63 - 1, description="Leave out so many bytes from its beginning."),
    ] = None,
) -> Response:
    """The log of one task, as the backend holds it: the last MiB; with ``skip`` the next MiB after that many
    bytes; with ``follow`` all after them, and what comes until the task has ended."""
    run = await stored_run(context, caller, run_id)
    found = await context.store.read(lambda s: mirror.tasks_of(s, run_id))
    chosen = _choose(found, task)
    backend = context.backends.get(run.backend)
    if follow:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        who_asks = partial(get_caller, request, context)
        growing = await tasklogs.follow(context, backend, run, chosen, skip or 0, who_asks=who_asks)
        return StreamingResponse(growing, media_type="text/plain; charset=utf-8", headers=headers)
    if skip is not None:
        return PlainTextResponse(await tasklogs.after(backend, run, chosen, skip))
    return PlainTextResponse(await tasklogs.tail_of(backend, run, chosen))


def _choose(tasks: list[Task], wanted: str | None) -> Task:
    if wanted is not None:
        chosen = next((one for one in tasks if wanted in (one.path, one.task_id)), None)
        if chosen is None:
            known = ", ".join(one.path for one in tasks if one.path) or "none yet"
            raise ProblemError("not-found", f"there is no task {wanted}; the tasks are: {known}")
        return chosen
    causes = failed_tasks(tasks)
    if causes:
        return causes[0]
    with_pods = [one for one in tasks if one.pod_name]
    if len(with_pods) == 1:
        return with_pods[0]
    known = ", ".join(one.path for one in with_pods) or "none yet"
    told = f"say which task: {known}"
    raise ProblemError("invalid-request", told, errors=[("/task", told)])
