"""What runs used: counted once when they are over, anew if they settle again, and summed up by month."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, and_, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from bridge.domain.lineage import Run, Task
from bridge.domain.usage import RUN, Prices
from bridge.lineage import outbox
from bridge.lineage.bulk import changed_rows, insert_new, upsert
from bridge.lineage.convert import run_from_row
from bridge.lineage.reading import tasks_of
from bridge.lineage.tables import COUNTERS, PRICES, RUN_USAGE, RUNS, USAGE_TOTALS

log = logging.getLogger(__name__)

_CURSOR = "usage"
_COUNTED = frozenset({"run.settled", "run.lost"})
_TOTAL_KEY = ("month", "project", "pipeline", "team", "backend", "resource")
# The order of the index that has the sums of all pipelines together.
_OF_MONTHS = ("month", "backend", "resource", "team", "project")
# From which share of all months on SQLite walks all totals in the pipelines' order.
_WIDE = 0.25
MAX_ITEMS = 200

Hours = Mapping[str, float]
HoursOf = Callable[[Session, Run, Sequence[Task]], Hours]
By = Literal["pipeline", "team", "project", "month"]


def count_news(session: Session, hours_of: HoursOf, limit: int = 200) -> int:
    """Count the runs that newly numbered events say have settled or were lost; how many events
    were looked at.

    The first call of all begins with the first event that is kept. Callers at the same time wait for each
    other. A run that cannot be measured is logged and left out, so that it does not keep the others from
    being counted; what the database says against it passes through.
    """
    cursor = select(COUNTERS.c.value).where(COUNTERS.c.name == _CURSOR).with_for_update()
    reached: int | None = session.scalars(cursor).first()
    if reached is None:
        insert_new(session, COUNTERS, [{"name": _CURSOR, "value": 0, "backend": "", "project": ""}])
        reached = session.scalars(cursor).one()
    events = outbox.events_after(session, reached, limit)
    if not events:
        return 0
    for run_id in dict.fromkeys(event.run_id for event in events if event.type in _COUNTED):
        if run_id is not None:
            _count_apart(session, run_id, hours_of)
    session.execute(update(COUNTERS).where(COUNTERS.c.name == _CURSOR).values(value=events[-1].number))
    return len(events)


def _count_apart(session: Session, run_id: UUID, hours_of: HoursOf) -> None:
    try:
        with session.begin_nested():
            count_run(session, run_id, hours_of)
    except SQLAlchemyError:
        raise
    except Exception:
        log.exception("what run %s used cannot be counted", run_id)


def count_run(session: Session, run_id: UUID, hours_of: HoursOf) -> None:
    """Count one run, in place of what was counted of it before; nothing for one that is not over."""
    row = session.execute(select(RUNS).where(RUNS.c.run_id == run_id)).mappings().first()
    run = run_from_row(row) if row is not None else None
    if row is None or run is None or run.over_at is None:
        return
    before = session.execute(select(RUN_USAGE).where(RUN_USAGE.c.run == row["id"])).mappings().all()
    for old in before:
        _add(session, {name: old[name] for name in _TOTAL_KEY}, -old["hours"], -1)
    session.execute(delete(RUN_USAGE).where(RUN_USAGE.c.run == row["id"]))
    place = {
        "month": run.over_at.strftime("%Y-%m"),
        "project": run.project,
        "pipeline": run.pipeline.name,
        "team": run.origin.team or "",
        "backend": run.backend,
    }
    for resource, hours in hours_of(session, run, tasks_of(session, run_id)).items():
        session.execute(insert(RUN_USAGE).values(**place, run=row["id"], resource=resource, hours=hours))
        _add(session, {**place, "resource": resource}, hours, 1)


def _add(session: Session, key: Mapping[str, Any], hours: float, runs: int) -> None:
    columns = USAGE_TOTALS.c
    where = and_(*(columns[name] == value for name, value in key.items()))
    more = {"hours": columns.hours + hours, "runs": columns.runs + runs}
    if not changed_rows(session, update(USAGE_TOTALS).where(where).values(**more)):
        session.execute(insert(USAGE_TOTALS).values(**key, hours=hours, runs=runs))


def events_to_count(session: Session) -> int:
    """How many numbered events have not been looked at yet."""
    reached = session.scalars(select(COUNTERS.c.value).where(COUNTERS.c.name == _CURSOR)).first() or 0
    return max(0, outbox.last_number(session) - reached)


def store_prices(session: Session, prices: Prices, currency: str) -> None:
    """Make these the prices."""
    rows = [
        {"backend": backend, "project": "", "resource": resource, "per_hour": price, "currency": currency}
        for (backend, resource), price in sorted(prices.per_hour.items())
    ]
    stored = session.execute(select(PRICES)).mappings().all()
    known = [
        {name: row[name] for name in ("backend", "project", "resource", "per_hour", "currency")}
        for row in stored
    ]
    if sorted(known, key=str) == sorted(rows, key=str):
        return
    session.execute(delete(PRICES))
    upsert(session, PRICES, rows, key=("backend", "resource"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What one pipeline, team, project or month used of one resource at one backend."""

    key: str
    backend: str
    resource: str
    runs: int
    hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """``items``: by key, of the keys whose runs took longest; ``truncated``: there are more keys; ``whole``:
    what all of them add up to, with the key ``""``."""

    items: list[Total]
    truncated: bool
    whole: list[Total]


def totals(
    session: Session,
    by: By,
    first: str,
    last: str,
    *,
    projects: Collection[str] = (),
    pipeline: str | None = None,
) -> Totals:
    """The totals of the months from ``first`` to ``last``, of at most 200 keys.

    The table is read once: its rows are many, its groups few.
    """
    if pipeline is None and session.get_bind().dialect.name == "sqlite":
        statement = _in_order(session, by, first, last, projects)
    else:
        statement = _summed_up(USAGE_TOTALS, by).where(*_within(first, last, projects, pipeline))
    found = [Total(**row) for row in session.execute(statement).mappings()]
    length: dict[str, float] = defaultdict(float)
    for one in found:
        if one.resource == RUN:
            length[one.key] += one.hours
    longest = sorted(length, key=lambda name: (-length[name], name))
    shown = set(longest[:MAX_ITEMS])
    items = [one for one in found if one.key in shown]
    return Totals(items=items, truncated=len(longest) > MAX_ITEMS, whole=_summed(found))


def _summed_up(source: FromClause, by: By) -> Select[Any]:
    key, *groups = (source.c[name] for name in (by, "backend", "resource"))
    return select(key.label("key"), *groups, *_sums(source)).group_by(key, *groups)


def _sums(source: FromClause) -> list[ColumnElement[Any]]:
    return [func.sum(source.c[name]).label(name) for name in ("runs", "hours")]


def _in_order(session: Session, by: By, first: str, last: str, projects: Collection[str]) -> Select[Any]:
    """The same from an index that has the groups one after the other: SQLite would sort the totals otherwise,
    which takes several times as long as reading them."""
    columns, where = USAGE_TOTALS.c, _within(first, last, projects)
    if by == "pipeline":
        if _share_of_months(session, first, last) >= _WIDE:
            # Spelt so that no index of the months is looked up.
            where = _within(first, last, projects, month=func.coalesce(columns.month, ""))
        return _summed_up(USAGE_TOTALS, by).where(*where)
    groups = [columns[name] for name in _OF_MONTHS[: max(3, _OF_MONTHS.index(by) + 1)]]
    monthly = select(*groups, *_sums(USAGE_TOTALS)).where(*where).group_by(*groups)
    return _summed_up(monthly.subquery(), by)


def _share_of_months(session: Session, first: str, last: str) -> float:
    """How much of the time from which there are totals is asked for, at most 1."""
    oldest, newest = (
        session.scalars(select(end(USAGE_TOTALS.c.month))).one() for end in (func.min, func.max)
    )
    if oldest is None or newest is None:
        return 1.0
    asked = _months(min(last, newest)) - _months(max(first, oldest)) + 1
    return asked / (_months(newest) - _months(oldest) + 1)


def _months(month: str) -> int:
    year, _, number = month.partition("-")
    return int(year) * 12 + int(number)


def _summed(found: Sequence[Total]) -> list[Total]:
    runs: dict[tuple[str, str], int] = defaultdict(int)
    hours: dict[tuple[str, str], float] = defaultdict(float)
    for one in found:
        runs[one.backend, one.resource] += one.runs
        hours[one.backend, one.resource] += one.hours
    return [
        Total(key="", backend=backend, resource=resource, runs=runs[backend, resource], hours=amount)
        for (backend, resource), amount in hours.items()
    ]


def _within(
    first: str,
    last: str,
    projects: Collection[str],
    pipeline: str | None = None,
    month: ColumnElement[str] = USAGE_TOTALS.c.month,
) -> list[ColumnElement[bool]]:
    columns = USAGE_TOTALS.c
    where: list[ColumnElement[bool]] = [month >= first, month <= last]
    if projects:
        where.append(columns.project.in_(projects))
    if pipeline is not None:
        where.append(columns.pipeline == pipeline)
    return where
