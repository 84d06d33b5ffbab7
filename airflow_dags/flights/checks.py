"""Checks that a day's partition must pass before anybody may see it. They fail loudly, and all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

KEY = ("origin", "sched_dep_time", "carrier", "flight")
"""What tells two flights of one day apart, in the order in which a partition is sorted."""


class PartitionError(ValueError):
    """A partition failed its checks; ``problems`` holds one sentence for each."""

    def __init__(self, day: date, problems: list[str]) -> None:
        super().__init__(f"the flights of {day} failed {len(problems)} check(s): " + "; ".join(problems))
        self.day = day
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Limits:
    """What a good day looks like. 2013 had 634 to 1,014 flights a day.

    ``null_shares`` bounds the share of nulls by column, 0 to 1: on the day of the February blizzard
    57 % of the flights were cancelled, and those have neither delays nor always a plane.
    """

    rows_min: int = 500
    rows_max: int = 1_200
    origins: frozenset[str] = frozenset({"EWR", "JFK", "LGA"})
    null_shares: Mapping[str, float] = field(
        default_factory=lambda: {
            "dep_delay": 0.7,
            "arr_delay": 0.7,
            "tailnum": 0.6,
            "seats": 0.7,
            "carrier": 0.0,
            "flight": 0.0,
            "dest": 0.0,
            "distance": 0.0,
            "time_hour": 0.0,
        }
    )


def check_day(table: pa.Table, day: date, limits: Limits | None = None) -> None:
    """Raises ``PartitionError`` naming every check that the day's table fails."""
    limits = limits or Limits()
    problems = [
        *_rows(table, limits),
        *_duplicates(table),
        *_nulls(table, limits),
        *_values(table, day, limits),
    ]
    if problems:
        raise PartitionError(day, problems)


def _rows(table: pa.Table, limits: Limits) -> list[str]:
    if limits.rows_min <= table.num_rows <= limits.rows_max:
        return []
    return [f"{table.num_rows} rows, expected {limits.rows_min} to {limits.rows_max}"]


def _duplicates(table: pa.Table) -> list[str]:
    distinct = table.group_by(list(KEY)).aggregate([]).num_rows
    repeated = table.num_rows - distinct
    return [f"{repeated} rows repeat another's ({', '.join(KEY)})"] if repeated else []


def _nulls(table: pa.Table, limits: Limits) -> list[str]:
    problems = []
    for name, most in limits.null_shares.items():
        if name not in table.column_names:
            problems.append(f"the column {name} is missing")
            continue
        share = table[name].null_count / table.num_rows if table.num_rows else 0.0
        if share > most:
            problems.append(f"{name} is null in {share:.1%} of the rows, at most {most:.1%} expected")
    return problems


def _values(table: pa.Table, day: date, limits: Limits) -> list[str]:
    problems = []
    strangers = sorted(set(pc.unique(table["origin"]).to_pylist()) - limits.origins, key=str)
    if strangers:
        problems.append(f"unexpected origins {strangers}")
    dates = sorted(set(pc.unique(table["flight_date"]).to_pylist()) - {day}, key=str)
    if dates:
        problems.append(f"rows of other days: {', '.join(map(str, dates))}")
    return problems
