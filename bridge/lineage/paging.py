"""One page of runs in SQL: what matches, its order, and where the page begins."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Select, func, literal, literal_column, select, tuple_
from sqlmodel import Session

from bridge.lineage import entries
from bridge.lineage.columns import Uid, UtcTime
from bridge.lineage.entries import Candidates
from bridge.lineage.narrowing import Prefix, between, conditions
from bridge.lineage.records import RunFilter, RunOrder
from bridge.lineage.tables import METRICS, RUNS

# To sort so many times what is wanted, with all columns, costs more than to read some rows twice.
_MANY = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where something begins: after the run with this key and id."""

    key: Any
    run_id: UUID


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is looked for: ``wanted`` rows behind a place, in an order."""

    session: Session
    where: RunFilter
    order: RunOrder
    after: Place | None
    wanted: int

    def along(
        self, prefix: Prefix, after: Place | None, most: int, limit: int
    ) -> tuple[Sequence[RowMapping], Place | None]:
        """Up to ``limit`` matching runs among the next ``most`` of an index of ``runs``, and where to go on;
        ``None`` at the end of the index, or if there are as many as asked for."""
        key = self._key(RUNS.c)
        inner = self.prefixed(select(RUNS), prefix).where(*self._behind(key, RUNS.c, after), key.is_not(None))
        inner = inner.order_by(*self._ordered(key, RUNS.c.run_id))
        rows = self.session.execute(self._seen(inner.limit(most)).limit(limit)).mappings().all()
        if len(rows) == limit:
            return rows, None
        last = inner.with_only_columns(key, RUNS.c.run_id).offset(most - 1).limit(1)
        place = self.session.execute(last).first()
        return rows, None if place is None else Place(*place)

    def _seen(self, inner: Select[Any]) -> Select[Any]:
        """The matching ones of some runs, in their order."""
        if self.session.get_bind().dialect.name == "postgresql":
            seen = inner.subquery("seen")
            return select(seen, self._key(seen.c).label("place")).where(*conditions(self.where, seen.c))
        # SQLite takes each column of a row apart, asked for or not; and it has no other way to join these.
        asked = _Asked()
        conditions(self.where, asked)
        seen = inner.with_only_columns(*asked.columns.values()).subquery("seen")
        joined = seen.join(RUNS, RUNS.c.id == seen.c.id)
        statement = select(RUNS, self._key(RUNS.c).label("place")).select_from(joined)
        return statement.where(*conditions(self.where, seen.c))

    def keys_along(self, prefix: Prefix, most: int) -> Sequence[int]:
        """The next ``most`` runs of an index of ``runs``, whether they match or not."""
        key = self._key(RUNS.c)
        statement = self.prefixed(select(RUNS.c.id), prefix)
        statement = statement.where(*self._behind(key, RUNS.c, self.after), key.is_not(None))
        ordered = statement.order_by(*self._ordered(key, RUNS.c.run_id))
        return self.session.scalars(ordered.limit(most)).all()

    def of(self, runs: Collection[int]) -> Sequence[RowMapping]:
        """Those of some runs that match and stand behind the page's beginning, in order."""
        if not runs:
            return ()
        # Neighbours lie together: in this order fewer pages of the table are read twice.
        given = entries.given(self.session, sorted(runs)).subquery("given")
        found = self._select(RUNS.join(given, given.c.id == RUNS.c.id))
        if len(runs) <= _MANY * self.wanted:
            return self.session.execute(self._sorted(found)).mappings().all()
        # Their keys are sorted alone, and the columns of those that are wanted are read after that.
        place = self._key(RUNS.c).label("place")
        best = self._sorted(found.with_only_columns(RUNS.c.id, RUNS.c.run_id, place)).subquery("best")
        statement = select(RUNS, best.c.place).join(best, best.c.id == RUNS.c.id)
        ordered = statement.order_by(*self._ordered(best.c.place, best.c.run_id))
        return self.session.execute(ordered).mappings().all()

    def all(self) -> Sequence[RowMapping]:
        """The page, however many runs have to be looked at: for filters that name a few."""
        return self.session.execute(self._sorted(self._select(RUNS))).mappings().all()

    def led_to(self, prefix: Prefix) -> Candidates:
        """All runs that an index leads to."""
        return Candidates(self.session, self.prefixed(select(RUNS.c.id), prefix))

    def prefixed(self, statement: Select[Any], prefix: Prefix) -> Select[Any]:
        """The statement about the runs with which an index begins."""
        where = self.where
        statement = statement.where(*(RUNS.c[name] == value for name, value in prefix))
        return statement.where(*between(RUNS.c.created_at, where.created_after, where.created_before))

    def _select(self, source: Any) -> Select[Any]:
        key = self._key(RUNS.c)
        statement = select(RUNS, key.label("place")).select_from(source)
        return statement.where(
            *conditions(self.where, RUNS.c), *self._behind(key, RUNS.c, self.after), key.is_not(None)
        )

    def _sorted(self, statement: Select[Any]) -> Select[Any]:
        return statement.order_by(*self._ordered(self._key(RUNS.c), RUNS.c.run_id)).limit(self.wanted)

    def _key(self, columns: Any) -> ColumnElement[Any]:
        if self.order.by == "created":
            return columns.created_at  # type: ignore[no-any-return]
        if self.order.by == "finished":
            return columns.finished_at  # type: ignore[no-any-return]
        # Not the value itself, for which there is an index that knows nothing of the run.
        value = METRICS.c.value + literal_column("0.0")
        best = func.max(value) if self.order.descending else func.min(value)
        measured = select(best).where(METRICS.c.run == columns.id, METRICS.c.key == self.order.metric)
        return measured.scalar_subquery()

    def _ordered(self, *keys: ColumnElement[Any]) -> list[ColumnElement[Any]]:
        return [key.desc() if self.order.descending else key.asc() for key in keys]

    def _behind(
        self, key: ColumnElement[Any], columns: Any, after: Place | None
    ) -> list[ColumnElement[bool]]:
        if after is None:
            return []
        begin = literal(after.key) if self.order.by == "metric" else literal(after.key, UtcTime())
        place = tuple_(begin, literal(after.run_id, Uid()))
        row = tuple_(key, columns.run_id)
        return [row < place if self.order.descending else row > place]


class _Asked:
    """Stands for the columns of ``runs`` and notes which of them are asked for."""

    def __init__(self) -> None:
        self.columns: dict[str, ColumnElement[Any]] = {"id": RUNS.c.id}

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        return self.columns.setdefault(name, RUNS.c[name])

    __getattr__ = __getitem__
