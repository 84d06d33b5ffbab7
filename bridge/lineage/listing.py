"""Listing runs, newest first, by keyset: a page costs the same at the beginning and at the end."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, or_, select, tuple_
from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.lineage.columns import Uid, UtcTime
from bridge.lineage.convert import run_from_row
from bridge.lineage.cursors import make_cursor, page_size, parse_moment, read_cursor
from bridge.lineage.records import MetricFilter, RunFilter
from bridge.lineage.tables import METRICS, RUNS


def list_runs(
    session: Session, where: RunFilter, *, cursor: str | None = None, limit: int = 50
) -> tuple[list[Run], str | None]:
    """Runs, newest first, and the cursor of the next page (``None`` on the last). At most 200 a page.

    Raises ``CursorError`` for a cursor that this listing did not hand out.
    """
    size = page_size(limit)
    statement = _filtered(select(RUNS), where)
    if cursor is not None:
        created_at, run_id = read_cursor("runs", cursor, parse_moment, UUID)
        after = tuple_(literal(created_at, UtcTime()), literal(run_id, Uid()))
        statement = statement.where(tuple_(RUNS.c.created_at, RUNS.c.run_id) < after)
    statement = statement.order_by(RUNS.c.created_at.desc(), RUNS.c.run_id.desc()).limit(size + 1)
    runs = [run_from_row(row) for row in session.execute(statement).mappings()]
    page = runs[:size]
    more = make_cursor("runs", page[-1].created_at, page[-1].run_id) if len(runs) > size else None
    return page, more


def _filtered(statement: Select[Any], where: RunFilter) -> Select[Any]:
    columns = RUNS.c
    equal = {
        columns.pipeline_name: where.pipeline,
        columns.experiment: where.experiment,
        columns.backend: where.backend,
        columns.dag_id: where.dag_id,
        columns.dag_run_id: where.dag_run_id,
        columns.task_id: where.task_id,
        columns.map_index: where.map_index,
        columns.submission_key: where.submission_key,
    }
    for column, value in equal.items():
        if value is not None:
            statement = statement.where(column == value)
    if where.ids is not None:
        statement = statement.where(columns.run_id.in_(where.ids))
    if where.projects:
        statement = statement.where(_one_of(columns.project, where.projects))
    if where.states:
        statement = statement.where(_one_of(columns.shown_state, [state.value for state in where.states]))
    if where.phases:
        statement = statement.where(_one_of(columns.phase, [phase.value for phase in where.phases]))
    if where.created_after is not None:
        statement = statement.where(columns.created_at >= where.created_after)
    if where.created_before is not None:
        statement = statement.where(columns.created_at < where.created_before)
    if where.text:
        statement = statement.where(_holds(where.text))
    if where.metric is not None:
        statement = statement.where(_measures(where.metric))
    return statement


def _one_of(column: ColumnElement[str], values: Any) -> ColumnElement[bool]:
    # A single value as an equality lets the index give the order too.
    return column == values[0] if len(values) == 1 else column.in_(values)


def _holds(text: str) -> ColumnElement[bool]:
    escaped = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = f"%{escaped}%"
    return or_(
        func.lower(RUNS.c.display_name).like(pattern, escape="\\"),
        func.lower(RUNS.c.pipeline_name).like(pattern, escape="\\"),
    )


def _measures(metric: MetricFilter) -> ColumnElement[bool]:
    value = METRICS.c.value
    compared = {
        ">": value > metric.value,
        ">=": value >= metric.value,
        "<": value < metric.value,
        "<=": value <= metric.value,
        "==": value == metric.value,
    }[metric.op]
    return (
        select(METRICS.c.id).where(METRICS.c.run == RUNS.c.id, METRICS.c.key == metric.key, compared).exists()
    )
