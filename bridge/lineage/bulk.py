"""Statements over many rows that read the same on both databases: upserts and reads in bounded pieces."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Table, case, func, insert, or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import CursorResult
from sqlmodel import Session

from bridge.lineage.columns import database_time

T = TypeVar("T")
# Rows of one statement, and values of one IN list: SQLite allows 32,766 variables.
PIECE = 1000


def in_pieces(items: Collection[T], size: int = PIECE) -> Iterator[list[T]]:
    """The items in lists of at most ``size``."""
    rest = iter(items)
    while piece := list(islice(rest, size)):
        yield piece


def insert_new(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that no unique key of the table knows yet; how many those were.

    All rows have the same columns.
    """
    return _execute(session, _insert_or_ignore(table, session.get_bind().dialect.name), rows) if rows else 0


def insert_keyed(
    session: Session, table: Table, column: str, rows: Sequence[Mapping[str, Any]]
) -> dict[Any, int]:
    """Insert rows and give their surrogate keys by ``column``, which tells them apart; a row that a unique
    key of the table knows already is left out. All rows have the same columns."""
    statement = _insert_keyed(table, column, session.get_bind().dialect.name)
    connection = session.connection()
    found: dict[Any, int] = {}
    for piece in in_pieces(rows):
        found |= {row[1]: row[0] for row in connection.execute(statement, piece)}
    return found


def insert_timed(session: Session, table: Table, column: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows whose ``column`` is the database's time. All rows have the same columns."""
    if rows:
        session.connection().execute(_insert_timed(table, column), rows)


def upsert(
    session: Session,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    key: tuple[str, ...],
    keep_known: tuple[str, ...] = (),
    keep_first: tuple[str, ...] = (),
    keep_in_state: tuple[str, ...] = (),
) -> int:
    """Insert rows, or update those whose natural ``key`` is stored; how many were new or changed.

    A row that says nothing new is not written at all. Columns of ``keep_known`` are not overwritten
    with NULL, those of ``keep_first`` only if they are NULL, those of ``keep_in_state`` not with NULL
    while the column ``state`` stays the same. All rows have the same columns; of several with one key
    the last counts.
    """
    if not rows:
        return 0
    newest = {tuple(row[column] for column in key): row for row in rows}
    dialect = session.get_bind().dialect.name
    keep = (keep_known, keep_first, keep_in_state)
    statement = _upsert(table, dialect, tuple(rows[0]), key, keep)
    # One order everywhere, so that two transactions never wait for each other crosswise.
    return _execute(session, statement, [newest[one] for one in sorted(newest, key=_sortable)])


def _sortable(key: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(part) for part in key)


# Statements are made once: making one and finding its compiled form costs more than running it.
@cache
def _insert_or_ignore(table: Table, dialect: str) -> Any:
    return _counted(_insert(table, dialect).on_conflict_do_nothing())


@cache
def _insert_keyed(table: Table, column: str, dialect: str) -> Any:
    return _insert(table, dialect).on_conflict_do_nothing().returning(table.c.id, table.c[column])


@cache
def _insert_timed(table: Table, column: str) -> Any:
    return insert(table).inline().values({column: database_time()})


@cache
def _upsert(
    table: Table,
    dialect: str,
    columns: tuple[str, ...],
    key: tuple[str, ...],
    keep: tuple[tuple[str, ...], ...],
) -> Any:
    statement = _insert(table, dialect)
    told = statement.excluded
    new_values = {name: _resolved(name, table, told, keep) for name in columns if name not in key}
    differs = or_(*(table.c[column].is_distinct_from(value) for column, value in new_values.items()))
    return _counted(statement.on_conflict_do_update(index_elements=list(key), set_=new_values, where=differs))


def _resolved(name: str, table: Table, told: Any, keep: tuple[tuple[str, ...], ...]) -> Any:
    keep_known, keep_first, keep_in_state = keep
    known = func.coalesce(told[name], table.c[name])
    if name in keep_first:
        return func.coalesce(table.c[name], told[name])
    if name in keep_known:
        return known
    if name in keep_in_state:
        return case((told["state"] == table.c.state, known), else_=told[name])
    return told[name]


def _insert(table: Table, dialect: str) -> Any:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def _counted(statement: Any) -> Any:
    # Inline: nobody asks for the new keys; without the option the driver's count is not kept.
    return statement.inline().execution_options(preserve_rowcount=True)


def _execute(session: Session, statement: Any, rows: Sequence[Mapping[str, Any]]) -> int:
    written = 0
    connection = session.connection()
    for piece in in_pieces(rows):
        result: CursorResult[Any] = connection.execute(statement, piece)
        written += max(result.rowcount, 0)
    return written


def changed_rows(session: Session, statement: Any) -> int:
    """Execute an UPDATE or DELETE and say how many rows it touched."""
    result: CursorResult[Any] = session.connection().execute(statement)
    return result.rowcount
