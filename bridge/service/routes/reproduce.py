"""``/runs/{id}:reproduce``: make a run again, or tell how exactly that could be done."""

from __future__ import annotations

from uuid import UUID, uuid4

from fastapi import APIRouter, Request, Response

from bridge.client.reproduction import ReproduceRequest, ReproductionModel
from bridge.domain.access import Action
from bridge.domain.reproducibility import Grade, allows
from bridge.service.describing import body_of
from bridge.service.problems import ProblemError
from bridge.service.reproducing import THOROUGH_BYTES, graded, read_recipe, request_of
from bridge.service.routes.common import CallerDep, ContextDep, as_json, present, read_body, seen_run
from bridge.service.routes.compare import load_stored

router = APIRouter(tags=["runs"])


@router.post(
    "/runs/{run_id}:reproduce",
    status_code=202,
    response_model=ReproductionModel,
    openapi_extra=body_of(ReproduceRequest),
    responses={200: {"description": "only graded, as asked for by dry_run"}},
)
async def reproduce(request: Request, context: ContextDep, caller: CallerDep, run_id: UUID) -> Response:
    """Submit the run again, with the same pipeline, arguments and data, and say how exactly that is the same.

    ``exact``, ``same-spec`` (with what moved, may have moved, or is unknown) or ``impossible`` (with what is
    gone), which is refused, as is a grade below ``allow``. The header ``Idempotency-Key`` makes repeats
    harmless.
    """
    body = await read_body(request, ReproduceRequest)
    recipe = await context.store.read(lambda s: read_recipe(s, run_id))
    if recipe is None:
        raise ProblemError("not-found", f"there is no run {run_id}")
    seen_run(caller, recipe.run, run_id, Action.READ if body.dry_run else Action.SUBMIT)
    pipeline = await load_stored(request, recipe.spec)
    found = await graded(context, recipe, pipeline, most_bytes=THOROUGH_BYTES)
    model = found.model
    answer = ReproductionModel(reproducibility=model, of=run_id)
    if body.dry_run:
        return as_json(answer)
    if pipeline is None or not allows(Grade(body.allow), Grade(model.grade)):
        told = [(f"/{one.kind}", one.detail) for one in model.reasons]
        detail = f"run {run_id} can be made again {model.grade} only: " + "; ".join(text for _, text in told)
        if model.grade == "impossible":
            detail = f"run {run_id} cannot be made again: " + "; ".join(text for _, text in told)
        raise ProblemError("not-reproducible", detail, errors=told)
    key = request.headers.get("idempotency-key") or f"reproduce {uuid4()}"
    accepted = await request.app.state.acceptance.accept(
        request_of(found, pipeline, body), key, actor=caller.actor
    )
    answer.run = present(context, request, accepted.run, list(accepted.warnings))
    headers = {"Location": f"/api/v1/runs/{accepted.run.run_id}"}
    if accepted.replayed:
        headers["Idempotency-Replayed"] = "true"
    return as_json(answer, status_code=202, headers=headers)
