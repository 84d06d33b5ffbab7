"""Statements over many rows that read the same on both databases: upserts and reads in bounded pieces.

To PostgreSQL the rows of one statement go as one JSON text, which it takes apart itself: one short statement
that is planned once, however many rows there are. SQLite has no way to save and takes them one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Table, Text, bindparam, case, cast, column, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import CursorResult
from sqlmodel import Session

from bridge.lineage.columns import database_time, rows_to_json

T = TypeVar("T")
GroupT = TypeVar("GroupT", bound=Hashable)
# Rows of one statement, and values of one IN list: SQLite allows 32,766 variables.
PIECE = 1000
_ROWS = "told_rows"
_Row = Mapping[str, Any]
# keep_known, keep_first, keep_in_state
_Keep = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def in_pieces(items: Collection[T], size: int = PIECE) -> Iterator[list[T]]:
    """The items in lists of at most ``size``."""
    rest = iter(items)
    while piece := list(islice(rest, size)):
        yield piece


def insert_new(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that no unique key of the table knows yet; how many those were.

    All rows have the same columns.
    """
    return _written(session, _Insertion(table, conflict="nothing"), rows)


def insert_keyed(
    session: Session, table: Table, column: str, rows: Sequence[Mapping[str, Any]]
) -> dict[Any, int]:
    """Insert rows and give their surrogate keys by ``column``, which tells them apart; a row that a unique
    key of the table knows already is left out. All rows have the same columns."""
    told = _told(session, _Insertion(table, conflict="nothing", returning=(column, "id")), rows)
    return {row[0]: row[1] for row in told}


def insert_timed(session: Session, table: Table, column: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows whose ``column`` is the database's time. All rows have the same columns."""
    _written(session, _Insertion(table, timed=column), rows)


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
    while the column ``state`` stays the same. All rows have the same columns; several with one key are
    taken together by the same rules, as if each were stored after the other.
    """
    keep = (keep_known, keep_first, keep_in_state)
    return _written(session, _Insertion(table, "update", key, keep), _one_each(rows, key, keep))


def upsert_groups(
    session: Session,
    table: Table,
    groups: Mapping[GroupT, Sequence[Mapping[str, Any]]],
    *,
    key: tuple[str, ...],
    keep_known: tuple[str, ...] = (),
    keep_first: tuple[str, ...] = (),
    keep_in_state: tuple[str, ...] = (),
    only_new: bool = False,
) -> Counter[GroupT]:
    """As ``upsert`` for the rows of several groups together; how many were new or changed by group.

    A row of several groups counts for each of them. ``only_new`` leaves rows alone that are stored, and
    inserts the others in their order.
    """
    keep = (keep_known, keep_first, keep_in_state)
    conflict, arranged = ("nothing", _in_their_order) if only_new else ("update", _one_each)
    if session.get_bind().dialect.name != "postgresql" or len(groups) == 1:
        insertion = _Insertion(table, conflict, key, keep)
        # Counted group by group: with RETURNING, SQLite cannot be given many rows at once.
        return Counter(
            {group: _written(session, insertion, arranged(rows, key, keep)) for group, rows in groups.items()}
        )
    owners: dict[tuple[Any, ...], list[GroupT]] = {}
    for group, rows in groups.items():
        for one in {_key_of(row, key) for row in rows}:
            owners.setdefault(one, []).append(group)
    together = arranged([row for rows in groups.values() for row in rows], key, keep)
    told = _told(session, _Insertion(table, conflict, key, keep, returning=key), together)
    return Counter(group for row in told for group in owners[tuple(row)])


def _one_each(rows: Sequence[_Row], key: tuple[str, ...], keep: _Keep) -> list[_Row]:
    found: dict[tuple[Any, ...], _Row] = {}
    for row in rows:
        one = _key_of(row, key)
        earlier = found.get(one)
        found[one] = row if earlier is None else _taken_together(earlier, row, keep)
    # One order everywhere, so that two transactions never wait for each other crosswise.
    return [found[one] for one in sorted(found, key=_sortable)]


def _taken_together(earlier: _Row, later: _Row, keep: _Keep) -> _Row:
    """What ``_resolved`` says of a stored row, for two rows of one statement: none can change a row twice."""
    keep_known, keep_first, keep_in_state = keep
    same_state = bool(keep_in_state) and earlier["state"] == later["state"]
    kept = {
        name: earlier[name]
        for name, value in later.items()
        if earlier[name] is not None
        and (
            name in keep_first
            or (value is None and (name in keep_known or (same_state and name in keep_in_state)))
        )
    }
    return {**later, **kept}


def _in_their_order(rows: Sequence[_Row], key: tuple[str, ...], keep: _Keep) -> list[_Row]:
    return list(rows)


def _key_of(row: Mapping[str, Any], key: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row[column] for column in key)


def _sortable(key: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(part) for part in key)


@dataclass(frozen=True, slots=True)
class _Insertion:
    """What kind of INSERT it is; the columns are those of the rows."""

    table: Table
    conflict: str = ""
    key: tuple[str, ...] = ()
    keep: tuple[tuple[str, ...], ...] = ()
    returning: tuple[str, ...] = ()
    timed: str = ""


# Statements are made once: making one and finding its compiled form costs more than running it.
@cache
def _statement(what: _Insertion, dialect: str, columns: tuple[str, ...], as_json: bool) -> Any:
    table = what.table
    if as_json:
        statement: Any = postgresql.insert(table).from_select(
            [*columns, *([what.timed] if what.timed else [])], _selected(what, columns)
        )
    else:
        make: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
        statement = make(table).inline()
        statement = statement.values({what.timed: database_time()}) if what.timed else statement
    if what.conflict == "nothing":
        statement = statement.on_conflict_do_nothing()
    elif what.conflict == "update":
        told = statement.excluded
        new = {name: _resolved(name, table, told, what.keep) for name in columns if name not in what.key}
        differs = or_(*(table.c[name].is_distinct_from(value) for name, value in new.items()))
        statement = statement.on_conflict_do_update(index_elements=list(what.key), set_=new, where=differs)
    if what.returning:
        return statement.returning(*(table.c[name] for name in what.returning))
    # Without the option the driver's count is not kept.
    return statement.execution_options(preserve_rowcount=True)


def _selected(what: _Insertion, columns: tuple[str, ...]) -> Any:
    text = cast(bindparam(_ROWS, type_=Text), postgresql.JSON)
    typed = [column(name, what.table.c[name].type) for name in columns]
    told = func.json_to_recordset(text).table_valued(*typed).render_derived(with_types=True)
    moment = [database_time()] if what.timed else []
    return select(*(told.c[name] for name in columns), *moment)


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


def _written(session: Session, what: _Insertion, rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(max(result.rowcount, 0) for result in _executed(session, what, rows))


def _told(session: Session, what: _Insertion, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [row for result in _executed(session, what, rows) for row in result]


def _executed(
    session: Session, what: _Insertion, rows: Sequence[Mapping[str, Any]]
) -> Iterator[CursorResult[Any]]:
    connection = session.connection()
    dialect = connection.dialect.name
    for piece in in_pieces(rows):
        as_json = dialect == "postgresql" and len(piece) > 1
        statement = _statement(what, dialect, tuple(piece[0]), as_json)
        yield connection.execute(statement, {_ROWS: rows_to_json(piece)} if as_json else piece)


def changed_rows(session: Session, statement: Any) -> int:
    """Execute an UPDATE or DELETE and say how many rows it touched."""
    result: CursorResult[Any] = session.connection().execute(statement)
    return result.rowcount
