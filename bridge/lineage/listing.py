"""Listing runs by keyset: a page costs the same at the beginning and at the end, and whatever is asked for.

No single index serves every filter: of a million runs, 300 or half a million may measure ``auc >= 0.8``.
So there are several ways to a page: walking along an index in the order of the page and leaving out what
does not match, or taking all of a few matches and sorting them. Each is tried for a short while, and then
the one goes on that seems to be nearest to its end. So the best way's cost bounds the page's, and no
planner has to guess; ``docs/lineage-database.md`` tells more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from uuid import UUID

from sqlalchemy import RowMapping
from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.lineage import entries
from bridge.lineage.convert import run_from_row
from bridge.lineage.cursors import make_cursor, page_size, parse_moment, parse_number, read_cursor
from bridge.lineage.narrowing import is_wordless, name_words, names_few, prefixes, search_words
from bridge.lineage.paging import Page, Place
from bridge.lineage.records import MetricFilter, RunFilter, RunOrder
from bridge.lineage.ways import Few, Follow, Walk, Way

# How many runs a way is tried for, besides those of the page, and what is expected of one not tried yet.
_FIRST_BUDGET = 400
_UNTRIED_PER_BUDGET = 4
_GROWTH = 4
_NEWEST = RunOrder()


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
    # A cursor goes on in the order it comes from, never in another one.
    sign = "-" if order.descending else "+"
    kind = "runs" if order == _NEWEST else f"runs{sign}{order.by}.{order.metric}"
    after = None
    if cursor is not None:
        parse = parse_number if order.by == "metric" else parse_moment
        after = Place(*read_cursor(kind, cursor, parse, UUID))
    # One more than are shown tells whether there are more.
    page = Page(session, where, order, after, page_size(limit) + 1)
    rows = list(_find(page))
    shown = rows[: page.wanted - 1]
    more = make_cursor(kind, shown[-1]["place"], shown[-1]["run_id"]) if len(rows) == page.wanted else None
    return [run_from_row(row) for row in shown], more


def _find(page: Page) -> Iterable[RowMapping]:
    """The page's rows, by whichever way has them first."""
    if page.where.ids == () or is_wordless(page.where):
        return ()
    if names_few(page.where):
        return page.all()
    first = _FIRST_BUDGET + page.wanted
    choice, budgets = _Choice(_ways(page), first * _UNTRIED_PER_BUDGET), dict[Way, int]()
    while True:
        way = choice.nearest()
        spent = budgets.get(way, 0)
        # Not much more than was spent on it so far: what seemed near may be far.
        most = max(first, spent * _GROWTH)
        budget = first if way.outlook is None else min(max(first, int(way.outlook * 1.25)), most)
        found = way.go_on(budget)
        if found is not None:
            return found
        budgets[way] = spent + budget


class _Choice:
    """The ways that were tried, and those that were not; of those the ``guess`` is expected, or what they say
    themselves."""

    def __init__(self, untried: Iterator[Way], guess: float) -> None:
        self._untried, self._guess = untried, guess
        self._fresh = next(untried, None)
        self._tried: list[Way] = []

    def nearest(self) -> Way:
        """The way that seems nearest to its end."""
        best = min(self._tried, key=lambda way: way.outlook or 0.0, default=None)
        expected = (best.outlook or 0.0) if best is not None else math.inf
        fresh = self._fresh
        if fresh is not None and expected >= (fresh.worth_trying or self._guess):
            self._tried.append(fresh)
            self._fresh = next(self._untried, None)
            return fresh
        if best is None:
            raise RuntimeError("there is no way to the page")
        return best


def _ways(page: Page) -> Iterator[Way]:
    """The ways to the page, the most promising first. At least one finds it if it goes on long enough."""
    where, order, session = page.where, page.order, page.session
    beginnings = prefixes(where)
    ordered = beginnings[0] if order.by == "created" else ()
    for metric in where.metrics:
        yield Few(_without(page, metric=metric), entries.measured(session, metric), ordered)
    if order.by == "created":
        # All runs, newest first, are the last resort where an index of the filter's own has that order.
        yield from (Walk(page, one) for one in beginnings if one)
        if order == _NEWEST:
            for label in where.labels:
                yield Follow(_without(page, label=label), entries.newest_labelled(*label))
            for metric in where.metrics:
                yield Follow(_without(page, metric=metric), entries.newest_measured(metric))
        yield from (Walk(page, one) for one in beginnings if not one)
    else:
        yield from (Few(page, page.led_to(one)) for one in beginnings if one)
        if order.by == "metric":
            yield Follow(page, entries.by_metric(order.metric, descending=order.descending))
        else:
            yield Walk(page, ())
    if words := search_words(where):
        yield Few(page, entries.Worded(session, words, name_words(where)))


def _without(page: Page, *, metric: MetricFilter | None = None, label: tuple[str, str] | None = None) -> Page:
    """The page for runs of which that is known already."""
    where = page.where
    metrics = tuple(one for one in where.metrics if one != metric)
    labels = tuple(one for one in where.labels if one != label)
    return replace(page, where=replace(where, metrics=metrics, labels=labels))
