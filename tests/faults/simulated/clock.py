"""Time that passes when a test says so, for the bridge, its database and its backend alike.

The database's time is its own (``bridge.lineage.columns.database_time``): SQLite's ``strftime`` and
PostgreSQL's ``statement_timestamp()`` are replaced inside the test's database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import Engine, event

_START = datetime(2026, 3, 1, 8, tzinfo=UTC)
_FORMAT = "%Y-%m-%d %H:%M:%f"
_MODIFIER = re.compile(r"(-?[\d.e+-]+) seconds")
_POSTGRESQL = """
CREATE SCHEMA simulated;
CREATE TABLE simulated.clock (at timestamptz NOT NULL);
INSERT INTO simulated.clock VALUES ('{start}');
CREATE FUNCTION simulated.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT at FROM simulated.clock';
ALTER DATABASE "{name}" SET search_path = simulated, public, pg_catalog;
"""


class Clock:
    """The one time of a simulation. ``advance`` moves it; nothing else does."""

    def __init__(self, postgresql: psycopg.Connection[Any] | None = None) -> None:
        self.now = _START
        self._postgresql = postgresql
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self.now += timedelta(seconds=seconds)
        if self._postgresql is not None:
            self._postgresql.execute("UPDATE simulated.clock SET at = %s", [self.now])

    @contextmanager
    def rules_sqlite(self) -> Iterator[None]:
        """Every SQLite database opened inside the block goes by this clock."""

        def strftime(form: str, moment: str, modifier: str) -> str:
            match = _MODIFIER.fullmatch(modifier)
            if (form, moment) != (_FORMAT, "now") or match is None:
                raise ValueError(f"strftime({form!r}, {moment!r}, {modifier!r}) is not the database's time")
            at = self.now + timedelta(seconds=float(match[1]))
            return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03d}"

        def connected(connection: Any, _: Any) -> None:
            if hasattr(connection, "create_function"):
                connection.create_function("strftime", 3, strftime)

        event.listen(Engine, "connect", connected)
        try:
            yield
        finally:
            event.remove(Engine, "connect", connected)


def prepare_postgresql(url: str, name: str) -> None:
    """Give a PostgreSQL database (a template for others too) a clock that can be set."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_POSTGRESQL.format(start=_START.isoformat(), name=name).encode())
