"""``/cost``: what runs used and what that cost."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlmodel import Session

from bridge.client.costs import CostModel, PriceModel, RunCostModel, TaskCostModel, UsageModel
from bridge.domain.lineage import Task
from bridge.domain.usage import hours_of
from bridge.lineage import mirror, specs, usage
from bridge.lineage.database import now as database_now
from bridge.lineage.records import StoredSpec
from bridge.service.costing import cost_items, cost_total, prices_of, task_uses, usage_fields
from bridge.service.problems import ProblemError
from bridge.service.routes.common import ContextDep, stored_run
from bridge.service.routes.compare import load_stored

router = APIRouter(tags=["cost"])

_MONTH = r"^\d{4}-(0[1-9]|1[0-2])$"
_MAX_TASKS = 1000


class CostQuery(BaseModel):
    """What ``GET /cost`` takes."""

    by: Literal["pipeline", "team", "project", "month"] = "pipeline"
    first: str | None = Field(
        default=None, alias="from", pattern=_MONTH, description="The first month; default: this one."
    )
    last: str | None = Field(
        default=None, alias="to", pattern=_MONTH, description="The last month; default: this one."
    )
    project: list[str] = Field(default_factory=list, max_length=50)
    pipeline: str | None = Field(default=None, max_length=255)


@router.get("/cost", response_model=CostModel)
async def cost(context: ContextDep, query: Annotated[CostQuery, Query()]) -> CostModel:
    """Hours of cores, memory and accelerators by pipeline, team, project or month, and what they cost."""

    def read(session: Session) -> tuple[usage.Totals, int, str, str]:
        this = database_now(session).strftime("%Y-%m")
        begin, end = query.first or query.last or this, query.last or this
        if begin > end:
            told = f"from={begin} is after to={end}"
            raise ProblemError("invalid-request", told, errors=[("/from", told)])
        projects = tuple(query.project)
        found = usage.totals(session, query.by, begin, end, projects=projects, pipeline=query.pipeline)
        return found, usage.events_to_count(session), begin, end

    found, pending, begin, end = await context.store.read(read)
    prices = prices_of(context.settings)
    return CostModel(
        by=query.by,
        first_month=begin,
        last_month=end,
        currency=context.settings.currency,
        prices=[
            PriceModel(backend=backend or None, resource=resource, per_hour=price)
            for (backend, resource), price in sorted(prices.per_hour.items())
        ],
        items=cost_items(found.items, prices),
        total=cost_total(found.whole, prices),
        truncated=found.truncated,
        pending=pending,
    )


@router.get("/runs/{run_id}/cost", response_model=RunCostModel)
async def run_cost(request: Request, context: ContextDep, run_id: UUID) -> RunCostModel:
    """What each task of a run used and cost, up to now if it goes on."""
    run = await stored_run(context, run_id)

    def read(session: Session) -> tuple[list[Task], StoredSpec | None, datetime]:
        tasks = mirror.tasks_of(session, run_id)
        return tasks, specs.get_spec(session, run.project, run.pipeline.digest), database_now(session)

    tasks, spec, now = await context.store.read(read)
    end = run.over_at or now
    uses = task_uses(tasks, await load_stored(request, spec), end)
    prices = prices_of(context.settings)
    seconds = max(0.0, (end - run.started_at).total_seconds()) if run.started_at else 0.0
    return RunCostModel(
        run_id=run_id,
        currency=context.settings.currency,
        tasks=[
            TaskCostModel.model_validate(
                {
                    "path": one.path,
                    "seconds": round(one.seconds, 3),
                    **usage_fields({run.backend: hours_of([one], 0.0)}, prices),
                }
            )
            for one in uses[:_MAX_TASKS]
        ],
        total=UsageModel.model_validate(usage_fields({run.backend: hours_of(uses, seconds)}, prices)),
        truncated=len(uses) > _MAX_TASKS,
    )
