"""The plans of the queries that ``querying`` measures, written to a page of the documentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlmodel import Session

from bridge.lineage.database import Database

# What every run of a list reads; it says nothing about the plan.
_LONG = re.compile(r"SELECT (?:seen|runs)\.backend,.*? FROM ")
_INNER = re.compile(r"SELECT runs\.backend AS backend.*? FROM runs")
_FEW, _LONGEST = 6, 1500

Statement = tuple[str, Any]


def explain(database: Database, units: Mapping[str, Callable[[int], object]]) -> dict[str, list[str]]:
    """By query: its statements, each with its plan, as lines of Markdown."""
    return {name: _explained(database, statements_of(database, unit)) for name, unit in units.items()}


def statements_of(database: Database, unit: Callable[[int], object]) -> list[Statement]:
    """What the unit sends to the database."""
    seen: list[Statement] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, ____: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            seen.append((statement, parameters))

    event.listen(database._engine, "before_cursor_execute", note)
    try:
        unit(0)
    finally:
        event.remove(database._engine, "before_cursor_execute", note)
    return seen


def plan_of(database: Database, statement: Statement, *, analyze: bool = False) -> list[str]:
    """The plan of one statement, as the database prints it."""
    if database.dialect == "sqlite":
        prefix = "EXPLAIN QUERY PLAN "
    else:
        prefix = (
            "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, SUMMARY OFF) " if analyze else "EXPLAIN (COSTS OFF) "
        )

    def read(session: Session) -> list[str]:
        rows = session.connection().exec_driver_sql(prefix + statement[0], statement[1])
        return [str(row[-1]) for row in rows]

    return database.read(read)


def _explained(database: Database, statements: list[Statement]) -> list[str]:
    lines: list[str] = []
    told = {_told(statement): (statement, parameters) for statement, parameters in reversed(statements)}
    for text, statement in list(reversed(told.items()))[:_FEW]:
        lines += ["```text", text[:_LONGEST], ""]
        lines += [line[:200] for line in plan_of(database, statement, analyze=True)]
        lines += ["```", ""]
    if len(told) > _FEW:
        lines += [f"and {len(told) - _FEW} more of the same kind.", ""]
    return lines


def _told(statement: str) -> str:
    """The statement in one line, without its columns."""
    bare = re.sub(r"::[A-Z]+( WITH TIME ZONE)?(\[\])?", "", " ".join(statement.split()))
    return _LONG.sub("SELECT … FROM ", _INNER.sub("SELECT … FROM runs", bare))


def write(page: Path, runs: int, plans: Mapping[str, Mapping[str, list[str]]]) -> None:
    """Write the page."""
    lines = [
        "# Query plans",
        "",
        f"The statements behind the figures of [benchmarks.md](benchmarks.md) with {runs:,} runs, and their",
        "plans, each for a first page. This page is written by",
        "",
        "    .venv/bin/python -m tests.bench --only querying --plans docs/query-plans.md",
        "",
        "How a page of runs is found, and why some statements find only a part of it, is in",
        "[lineage-database.md](lineage-database.md#how-a-page-of-runs-is-found).",
        "",
    ]
    for database, queries in plans.items():
        for name, explained in queries.items():
            lines += [f"## {database}: {name}", "", *explained]
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
