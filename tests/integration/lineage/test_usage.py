"""What runs used, counted and summed up, on both databases."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from bridge.domain.lineage import Run, Task
from bridge.domain.usage import Prices
from bridge.lineage import outbox, usage
from bridge.lineage.database import Database
from bridge.lineage.errors import SchemaMismatch
from bridge.lineage.runs import change_run
from bridge.lineage.tables import USAGE_TOTALS
from tests.support.lineage_samples import PIPELINE, T0, a_submission, end, submit

PRICES = Prices({("", "cpu"): 0.5, ("local", "cpu"): 0.25})


def _hours(**hours: float) -> Callable[[Session, Run, Sequence[Task]], dict[str, float]]:
    return lambda session, run, tasks: hours


def _settled(session: Session, *, days: int = 0, pipeline: str = PIPELINE.name) -> Run:
    submission = a_submission(created_at=T0 + timedelta(days=days), pipeline=replace(PIPELINE, name=pipeline))
    run = submit(session, submission)
    return change_run(session, run.run_id, event="run.settled", **end(run))


def _count(database: Database, **hours: float) -> int:
    def work(session: Session) -> int:
        while outbox.number_events(session):
            pass
        return usage.count_news(session, _hours(**hours))

    return database.transact(work)


def _totals(
    database: Database, by: usage.By = "pipeline", **more: object
) -> dict[tuple[str, str], tuple[int, float]]:
    found = database.read(lambda s: usage.totals(s, by, "2013-01", "2013-12", **more))  # type: ignore[arg-type]
    return {(one.key, one.resource): (one.runs, one.hours) for one in found.items}


def test_a_run_is_counted_once_when_it_settles(database: Database) -> None:
    database.transact(_settled)
    assert database.read(usage.events_to_count) == 0
    assert _count(database, run=1.0, cpu=2.0) > 0
    assert _count(database, run=1.0, cpu=2.0) == 0
    assert _totals(database) == {("flight-delay", "run"): (1, 1.0), ("flight-delay", "cpu"): (1, 2.0)}
    assert _totals(database, "team") == {("ops", "run"): (1, 1.0), ("ops", "cpu"): (1, 2.0)}


def test_a_run_that_settles_again_is_counted_anew(database: Database) -> None:
    run = database.transact(_settled)
    _count(database, run=1.0, cpu=2.0)
    database.transact(lambda s: change_run(s, run.run_id, event="run.settled", revivals=1))
    _count(database, run=3.0, gpu=1.0)
    found = _totals(database)
    assert found["flight-delay", "run"] == (1, 3.0)
    assert found["flight-delay", "cpu"] == (0, pytest.approx(0.0))
    assert found["flight-delay", "gpu"] == (1, 1.0)


def test_a_run_that_cannot_be_measured_keeps_no_other_from_being_counted(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    odd = database.transact(lambda s: _settled(s, pipeline="odd"))
    database.transact(_settled)

    def measure(session: Session, run: Run, tasks: Sequence[Task]) -> dict[str, float]:
        if run.run_id == odd.run_id:
            raise OverflowError("no number")
        return {"run": 1.0}

    def count(session: Session) -> int:
        while outbox.number_events(session):
            pass
        return usage.count_news(session, measure)

    assert database.transact(count) > 0
    assert _totals(database) == {("flight-delay", "run"): (1, 1.0)}
    assert database.read(usage.events_to_count) == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"what run {odd.run_id} used cannot be counted"
    ]


def test_what_the_database_says_while_counting_passes_through(database: Database) -> None:
    database.transact(_settled)

    def measure(session: Session, run: Run, tasks: Sequence[Task]) -> dict[str, float]:
        session.execute(text("SELECT nothing FROM nowhere"))
        return {}

    def count(session: Session) -> int:
        while outbox.number_events(session):
            pass
        return usage.count_news(session, measure)

    with pytest.raises((SQLAlchemyError, SchemaMismatch)):
        database.transact(count)
    _count(database, run=1.0)
    assert _totals(database) == {("flight-delay", "run"): (1, 1.0)}


def test_months_and_pipelines_add_up(database: Database) -> None:
    for days, pipeline in ((0, "a"), (1, "a"), (40, "a"), (40, "b")):
        database.transact(lambda s, days=days, pipeline=pipeline: _settled(s, days=days, pipeline=pipeline))
    _count(database, run=1.0)
    assert _totals(database, "month") == {("2013-01", "run"): (2, 2.0), ("2013-02", "run"): (2, 2.0)}
    assert _totals(database, pipeline="b") == {("b", "run"): (1, 1.0)}
    assert _totals(database, projects=("other",)) == {}
    found = database.read(lambda s: usage.totals(s, "month", "2013-01", "2013-02", pipeline="a"))
    assert [(one.key, one.resource, one.runs, one.hours) for one in found.whole] == [("", "run", 3, 3.0)]
    none = database.read(lambda s: usage.totals(s, "month", "2013-01", "2013-02", projects=("other",)))
    assert (none.items, none.truncated, none.whole) == ([], False, [])


def test_of_many_keys_the_longest_are_told_and_all_are_summed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MAX_ITEMS", 2)
    for pipeline, hours in (("a", 1.0), ("b", 3.0), ("c", 3.0), ("d", 2.0)):
        database.transact(lambda s, pipeline=pipeline: _settled(s, pipeline=pipeline))
        _count(database, run=hours, cpu=10 - hours)
    found = database.read(lambda s: usage.totals(s, "pipeline", "2013-01", "2013-12"))
    assert {one.key for one in found.items} == {"b", "c"}
    assert found.truncated
    assert {(one.resource, one.runs, one.hours) for one in found.whole} == {("run", 4, 9.0), ("cpu", 4, 31.0)}


def _fill_totals(session: Session) -> list[dict[str, object]]:
    """Totals of three years, spread unevenly."""
    rows = [
        {
            "backend": ("local", "cloud")[number % 2],
            "project": ("default", "fraud", "labs")[number % 3],
            "month": f"{2011 + number % 3}-{number % 12 + 1:02d}",
            "pipeline": f"p{number % 7}",
            "team": ("", "ops", "risk", "web", "maps")[number % 5],
            "resource": resource,
            "runs": number % 4,
            "hours": number / 8,
        }
        for number in range(240)
        for resource in ("run", "cpu")
    ]
    known = {tuple(row[name] for name in usage._TOTAL_KEY): row for row in rows}
    session.execute(insert(USAGE_TOTALS), list(known.values()))
    return list(known.values())


@pytest.mark.parametrize("by", ["pipeline", "team", "project", "month"])
def test_whatever_is_asked_for_the_sums_are_those_of_the_totals(database: Database, by: usage.By) -> None:
    rows = database.transact(_fill_totals)
    spans = (("2011-01", "2013-12"), ("2012-03", "2012-05"), ("2013-11", "2020-01"), ("2001-01", "2002-01"))
    for (first, last), projects, pipeline in itertools.product(
        spans, ((), ("fraud",), ("fraud", "labs")), (None, "p3")
    ):
        expected: dict[tuple[object, ...], tuple[int, float]] = {}
        for row in rows:
            if not first <= str(row["month"]) <= last or (projects and row["project"] not in projects):
                continue
            if pipeline is None or row["pipeline"] == pipeline:
                key = (row[by], row["backend"], row["resource"])
                runs, hours = expected.get(key, (0, 0.0))
                expected[key] = (runs + row["runs"], hours + row["hours"])  # type: ignore[operator]
        found = database.read(
            lambda s, f=first, n=last, p=projects, name=pipeline: usage.totals(
                s, by, f, n, projects=p, pipeline=name
            )
        )
        assert {
            (one.key, one.backend, one.resource): (one.runs, one.hours) for one in found.items
        } == expected


@pytest.mark.parametrize("by", ["pipeline", "month"])
def test_sqlite_adds_up_many_months_without_sorting_them(database: Database, by: usage.By) -> None:
    if database.dialect != "sqlite":
        return
    database.transact(_fill_totals)

    def plan(session: Session) -> list[str]:
        statement = usage._in_order(session, by, "2011-01", "2013-12", ())
        if by == "month":
            statement = statement.get_final_froms()[0].element  # type: ignore[attr-defined]
        sql = statement.compile(session.connection(), compile_kwargs={"literal_binds": True})
        return [row[3] for row in session.execute(text(f"EXPLAIN QUERY PLAN {sql}"))]

    (line,) = database.read(plan)
    assert f"USING COVERING INDEX ix_usage_totals_{by}" in line


def test_costs_are_a_view_with_the_backends_own_price_first(database: Database) -> None:
    database.transact(_settled)
    _count(database, run=1.0, cpu=2.0, memory=4.0)
    for prices in (PRICES, PRICES):
        database.transact(lambda s, prices=prices: usage.store_prices(s, prices, "EUR"))
    query = text("SELECT resource, hours, cost, currency, month FROM kfbridge_costs ORDER BY resource")
    rows = [tuple(row) for row in database.read(lambda s: s.execute(query).all())]
    assert rows == [
        ("cpu", 2.0, 0.5, "EUR", "2013-01"),
        ("memory", 4.0, None, None, "2013-01"),
        ("run", 1.0, None, None, "2013-01"),
    ]
    database.transact(lambda s: usage.store_prices(s, Prices(), "EUR"))
    assert database.read(lambda s: s.execute(query).all())[0].cost is None
