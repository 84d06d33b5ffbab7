"""Listing runs by keyset: a page costs the same at the beginning and at the end, and whatever is asked for.

No single index serves every filter: of a million runs, 300 or half a million may measure ``auc >= 0.8``.
So a page is looked for in several ways in turn, each of which gives up when it has looked at a budget of
rows: walking along an index in the order of the page and leaving out what does not match, or taking all
of a few matches and sorting them. If none has the page, the budget grows. So the best way's cost bounds
the page's, and no planner has to guess; ``docs/lineage-database.md`` tells more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Select, func, literal, select, tuple_
from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.lineage import entries
from bridge.lineage.columns import Uid, UtcTime
from bridge.lineage.convert import run_from_row
from bridge.lineage.cursors import make_cursor, page_size, parse_moment, parse_number, read_cursor
from bridge.lineage.entries import Stream
from bridge.lineage.narrowing import (
    Prefix,
    between,
    conditions,
    is_wordless,
    names_few,
    prefixes,
    telling_words,
)
from bridge.lineage.records import MetricFilter, RunFilter, RunOrder
from bridge.lineage.tables import METRICS, RUNS

_FIRST_BUDGET = 1000
_LAST_BUDGET = 2**40
_GROWTH = 4
# An entry of an index costs a fraction of a run.
_ENTRIES_PER_RUN = 20
# Candidates without their order come from an index alone, but each is looked at afterwards.
_CANDIDATES_PER_RUN = 4
_NEWEST = RunOrder()

# Rows in the order of the page, or None: not found within the budget.
_Found = Sequence[RowMapping] | None
_Way = Callable[[int], _Found]


def list_runs(
    session: Session,
    where: RunFilter,
    *,
    order: RunOrder = _NEWEST,
    cursor: str | None = None,
    limit: int = 50,
) -> tuple[list[Run], str | None]:
    """Runs in an order, newest first by default, and the cursor of the next page (``None`` on the last).
    At most 200 a page.

    Raises ``CursorError`` for a cursor that this listing did not hand out.
    """
    page = _Page(session, where, order, cursor, page_size(limit) + 1)
    rows = list(page.find())
    shown = rows[: page.wanted - 1]
    more = page.cursor_after(shown[-1]) if len(rows) == page.wanted else None
    return [run_from_row(row) for row in shown], more


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: after the run with this key and id."""

    key: Any
    run_id: UUID


class _Page:
    """One page that is looked for: ``wanted`` rows, one more than are shown."""

    def __init__(
        self, session: Session, where: RunFilter, order: RunOrder, cursor: str | None, wanted: int
    ) -> None:
        self.wanted = wanted
        self._session, self._where, self._order = session, where, order
        # A cursor goes on in the order it comes from, never in another one.
        sign = "-" if order.descending else "+"
        self._kind = "runs" if order == _NEWEST else f"runs{sign}{order.by}.{order.metric}"
        self._after: _Place | None = None
        if cursor is not None:
            parse = parse_number if order.by == "metric" else parse_moment
            self._after = _Place(*read_cursor(self._kind, cursor, parse, UUID))

    def cursor_after(self, row: RowMapping) -> str:
        """The cursor of the page that begins after this row."""
        return make_cursor(self._kind, row["place"], row["run_id"])

    def find(self) -> Iterable[RowMapping]:
        """The page's rows, by whichever way has them first."""
        if self._where.ids == () or is_wordless(self._where):
            return ()
        if names_few(self._where):
            return self._session.execute(self._sorted(self._select(RUNS))).mappings().all()
        budget = _FIRST_BUDGET + self.wanted
        while True:
            for way in self._ways():
                found = way(budget)
                if found is not None:
                    return found
            budget = min(budget * _GROWTH, _LAST_BUDGET)

    def _ways(self) -> Iterator[_Way]:
        """The ways to the page, the most promising first. At least one finds it if its budget is enough."""
        where, order = self._where, self._order
        for metric in where.metrics:
            yield partial(self._few, partial(self._measured, metric))
        beginnings = prefixes(where)
        if order.by == "created":
            # All runs, newest first, are the last resort where an index of the filter's own has that order.
            yield from (partial(self._walk, one) for one in beginnings if one)
            if order == _NEWEST:
                streams = [entries.newest_labelled(*label) for label in where.labels]
                streams += [entries.newest_measured(one) for one in where.metrics]
                yield from (partial(self._follow, one) for one in streams)
            yield from (partial(self._walk, one) for one in beginnings if not one)
        else:
            yield from (partial(self._few, self._led_to(one)) for one in beginnings if one)
            if order.by == "metric":
                stream = entries.by_metric(order.metric, descending=order.descending)
                yield partial(self._follow, stream)
            else:
                yield partial(self._walk, ())
        if words := telling_words(where):
            yield partial(self._few, partial(self._worded, words))

    def _measured(self, metric: MetricFilter, most: int) -> Collection[int] | None:
        return entries.measured(self._session, metric, most=most)

    def _worded(self, words: Sequence[str], most: int) -> Collection[int] | None:
        return entries.worded(self._session, words, most=most)

    def _few(self, candidates: Callable[[int], Collection[int] | None], budget: int) -> _Found:
        """All of a few candidates, sorted."""
        runs = candidates(budget * _CANDIDATES_PER_RUN)
        return None if runs is None else self._of(runs)

    def _of(self, runs: Collection[int]) -> Sequence[RowMapping]:
        if not runs:
            return ()
        given = entries.given(self._session, list(runs)).subquery("given")
        statement = self._select(RUNS.join(given, given.c.id == RUNS.c.id))
        return self._session.execute(self._sorted(statement)).mappings().all()

    def _walk(self, prefix: Prefix, budget: int) -> _Found:
        """Along an index of ``runs`` in the order of the page, looking at ``budget`` rows."""
        key = self._key(RUNS.c)
        inner = self._prefixed(select(RUNS), prefix).where(*self._behind(RUNS.c, key), key.is_not(None))
        inner = inner.order_by(*self._ordered(key, RUNS.c.run_id))
        seen = inner.limit(budget).subquery("seen")
        statement = select(seen, self._key(seen.c).label("place")).where(*conditions(self._where, seen.c))
        rows = self._session.execute(statement.limit(self.wanted)).mappings().all()
        if len(rows) == self.wanted:
            return rows
        last = inner.with_only_columns(RUNS.c.run_id).offset(budget - 1).limit(1)
        return None if self._session.execute(last).first() else rows

    def _led_to(self, prefix: Prefix) -> Callable[[int], Collection[int] | None]:
        statement = self._prefixed(select(RUNS.c.id), prefix)

        def runs(most: int) -> Collection[int] | None:
            found = self._session.scalars(statement.limit(most + 1)).all()
            return found if len(found) <= most else None

        return runs

    def _prefixed(self, statement: Select[Any], prefix: Prefix) -> Select[Any]:
        where = self._where
        statement = statement.where(*(RUNS.c[name] == value for name, value in prefix))
        return statement.where(*between(RUNS.c.created_at, where.created_after, where.created_before))

    def _follow(self, stream: Stream, budget: int) -> _Found:
        """Along a stream of entries in the order of the page, looking at ``budget`` of their runs."""
        begin = self._after.key if self._after is not None else None
        if begin is None and self._order == _NEWEST:
            begin = self._where.created_before
        found: dict[int, RowMapping] = {}
        size, looked = 2 * self.wanted, 0
        while looked < budget:
            piece = stream.piece(self._session, begin, size=size, budget=budget * _ENTRIES_PER_RUN)
            for row in self._of(piece.runs):
                found.setdefault(row["id"], row)
            if len(found) >= self.wanted or piece.horizon is None:
                return list(found.values())[: self.wanted]
            looked, begin = looked + max(len(piece.runs), size), piece.horizon
            size = min(size * _GROWTH, budget)
        return None

    def _select(self, source: Any) -> Select[Any]:
        """The runs of a source that match and stand behind the page's beginning, with their place."""
        key = self._key(RUNS.c)
        statement = select(RUNS, key.label("place")).select_from(source)
        return statement.where(*conditions(self._where, RUNS.c), *self._behind(RUNS.c, key), key.is_not(None))

    def _sorted(self, statement: Select[Any]) -> Select[Any]:
        return statement.order_by(*self._ordered(self._key(RUNS.c), RUNS.c.run_id)).limit(self.wanted)

    def _key(self, columns: Any) -> ColumnElement[Any]:
        if self._order.by == "created":
            return columns.created_at  # type: ignore[no-any-return]
        if self._order.by == "finished":
            return columns.finished_at  # type: ignore[no-any-return]
        best = func.max(METRICS.c.value) if self._order.descending else func.min(METRICS.c.value)
        measured = select(best).where(METRICS.c.run == columns.id, METRICS.c.key == self._order.metric)
        return measured.scalar_subquery()

    def _ordered(self, *keys: ColumnElement[Any]) -> list[ColumnElement[Any]]:
        return [key.desc() if self._order.descending else key.asc() for key in keys]

    def _behind(self, columns: Any, key: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        if self._after is None:
            return []
        value = self._after.key
        begin = literal(value) if self._order.by == "metric" else literal(value, UtcTime())
        place = tuple_(begin, literal(self._after.run_id, Uid()))
        row = tuple_(key, columns.run_id)
        return [row < place if self._order.descending else row > place]
