"""``/pipelines/{name}``: a pipeline over time, and what it measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from sqlmodel import Session

from bridge.client.history import (
    GridTaskModel,
    PipelineDetailModel,
    PipelineRunModel,
    TrendModel,
    UsualModel,
    VersionModel,
)
from bridge.domain.lineage import Run
from bridge.domain.trends import DEFAULT_WINDOW, MAX_WINDOW, MIN_GOOD, Better, usual_seconds
from bridge.lineage import aliases, history
from bridge.lineage.errors import CursorError
from bridge.lineage.history import GridTask
from bridge.service.briefs import brief, brief_fields, owner_of, runbook_of, seconds_between
from bridge.service.problems import ProblemError
from bridge.service.requests import check_gate
from bridge.service.routes.common import MAX_LIMIT, ContextDep
from bridge.service.routes.pipelines import shown_alias
from bridge.service.trends import points_of, read_trend, rule_model

router = APIRouter(tags=["pipelines"])

_Project = Annotated[str, Query(min_length=1, max_length=255)]
_Name = Annotated[str, Path(max_length=255)]
_GRID_ROWS = 60
_RUNS_FOR_USUAL = 30
_GOOD_FOR_KEYS = 10


class TrendQuery(BaseModel):
    """What ``GET /pipelines/{name}/metrics`` takes."""

    name: str = Field(min_length=1, max_length=600, description="A metric's key, or duration, or queued.")
    project: str = Field(default="default", min_length=1, max_length=255)
    rule: str | None = Field(
        default=None,
        max_length=2000,
        description="A CEL expression, or median; default: the pipeline's gate if it judges the metric.",
    )
    direction: Literal["higher", "lower"] | None = Field(
        default=None, description="Which way the number gets better."
    )
    window: int = Field(
        default=DEFAULT_WINDOW, ge=MIN_GOOD, le=MAX_WINDOW, description="How many good runs the median is of."
    )
    before: datetime | None = Field(default=None, description="Only runs created before this.")
    limit: int = Field(default=100, ge=1, le=MAX_LIMIT)


@router.get("/pipelines/{name}", response_model=PipelineDetailModel)
async def get_pipeline(
    name: _Name,
    context: ContextDep,
    project: _Project = "default",
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
) -> PipelineDetailModel:
    """A pipeline: its runs over time with their tasks, versions, aliases, metrics and last good run."""
    try:
        found = await context.store.read(lambda s: _read(s, project, name, cursor, limit))
    except CursorError as error:
        raise ProblemError("invalid-request", str(error), errors=[("/cursor", str(error))]) from error
    if found is None:
        raise ProblemError("not-found", f"project {project} has no pipeline {name}")
    return found


@router.get("/pipelines/{name}/metrics", response_model=TrendModel)
async def trend(
    context: ContextDep,
    pipeline: Annotated[str, Path(alias="name", max_length=255)],
    query: Annotated[TrendQuery, Query()],
) -> TrendModel:
    """A number over the pipeline's newest runs, the oldest of them first, with regressions marked."""
    name, rule, before = query.name, query.rule, query.before
    if rule is not None and rule != "median":
        check_gate(rule, "/rule")
    moment = before.replace(tzinfo=UTC) if before is not None and before.tzinfo is None else before
    found = await context.store.read(
        lambda s: read_trend(
            s, query.project, pipeline, name, rule=rule, window=query.window, limit=query.limit, before=moment
        )
    )
    if rule is not None and rule != "median" and found.gate is None:
        told = f"the rule {rule} says nothing of {name}"
        raise ProblemError("invalid-gate", told, errors=[("/rule", told)])
    better = Better(query.direction) if query.direction else None
    stated, median_rule = rule_model(found, name, better, query.window)
    points = points_of(found, median_rule)
    return TrendModel(
        pipeline=pipeline,
        project=query.project,
        name=name,
        rule=stated,
        last_good=brief(found.last_good, datetime.now(UTC)) if found.last_good else None,
        points=points,
        regressions=sum(point.regression is True for point in points),
        truncated=found.older,
    )


def _read(
    session: Session, project: str, name: str, cursor: str | None, limit: int
) -> PipelineDetailModel | None:
    runs, following = history.runs_of_pipeline(session, project, name, cursor=cursor, limit=limit)
    versions = history.versions_of(session, project, name)
    if not runs and not versions and not history.is_registered(session, project, name):
        return None
    good = history.good_runs(session, project, name, limit=_RUNS_FOR_USUAL)
    ids = [run.run_id for run in runs]
    grid, truncated = history.grid_of(session, ids)
    tasks = _rows_of(runs, grid)
    now = datetime.now(UTC)
    newest = runs[0] if runs else None
    return PipelineDetailModel(
        name=name,
        project=project,
        digest=versions[0].digest if versions else newest.pipeline.digest if newest else None,
        last_good=brief(good[0], now) if good else None,
        versions=[
            VersionModel(digest=one.digest, version_name=one.version_name, created_at=one.created_at)
            for one in versions
        ],
        aliases=[shown_alias(alias) for alias in aliases.list_aliases(session, project, name)],
        # Runs that failed measured nothing, and the newest may all have failed.
        metrics=history.keys_of(session, [*(run.run_id for run in good[:_GOOD_FOR_KEYS]), *ids]),
        owner=owner_of(newest),
        runbook=runbook_of(newest),
        duration=usual_model(good),
        tasks=tasks[:_GRID_ROWS],
        tasks_truncated=truncated or len(tasks) > _GRID_ROWS,
        runs=[_column(run, grid.get(run.run_id, ()), set(tasks[:_GRID_ROWS]), now) for run in runs],
        next_cursor=following,
    )


def usual_model(good: Sequence[Run]) -> UsualModel:
    """How long these good runs took."""
    took = [
        seconds for run in good if (seconds := seconds_between(run.started_at, run.finished_at)) is not None
    ]
    usual = usual_seconds(took)
    if usual is None:
        return UsualModel(runs=len(took))
    return UsualModel(
        runs=usual.runs,
        median_seconds=usual.median,
        spread_seconds=usual.spread,
        usual_max_seconds=usual.limit,
    )


def _rows_of(runs: Sequence[Run], grid: Mapping[UUID, Sequence[GridTask]]) -> list[str]:
    """The grid's rows: the newest run's tasks as they started, then what only earlier ones have."""
    return list(dict.fromkeys(task.path for run in runs for task in grid.get(run.run_id, ())))


def _column(run: Run, tasks: Sequence[GridTask], shown: set[str], now: datetime) -> PipelineRunModel:
    fields = {
        task.path: GridTaskModel(
            state=task.state.value,
            seconds=seconds_between(task.started_at, task.finished_at),
            cached=task.cached,
        )
        for task in tasks
        if task.path in shown
    }
    return PipelineRunModel(**brief_fields(run, now), tasks=fields)
