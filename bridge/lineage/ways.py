"""Ways to a page of runs, each of which can be gone a bit at a time and says how far it seems to be.

What a way costs is told in runs that are looked at, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import RowMapping

from bridge.lineage.collecting import collector_paused
from bridge.lineage.entries import ENTRIES_PER_RUN, Candidates, Stream
from bridge.lineage.narrowing import Prefix
from bridge.lineage.paging import Page, Place

_GROWTH = 4
# So many candidates are few: all of them are looked at in one statement, and hardly any of them is told.
_FEW_PER_RUN = 3
# How many candidates cost as much as one run that is looked at, where most of them are not looked at, but met
# along an index.
_MET_PER_RUN = 8
# How many keys of that index are read at first, and how many more than it seems to need.
_FIRST_MET = 1000
_SPARE = 1.3

# Rows in the order of the page, or None: not there yet.
Found = Sequence[RowMapping] | None


class Way(Protocol):
    """``outlook`` is what the page is expected to cost yet by this way; ``None`` before it was tried.

    ``worth_trying`` is how much any other way must be expected to cost before this one is tried; ``None``: no
    more than usual.
    """

    outlook: float | None
    worth_trying: float | None

    def go_on(self, budget: int) -> Found:
        """Look at about ``budget`` runs more. Goes on from where it stopped."""


class Walk:
    """Along an index of ``runs`` in the order of the page, leaving out what does not match."""

    worth_trying: float | None = None

    def __init__(self, page: Page, prefix: Prefix) -> None:
        self.outlook: float | None = None
        self._page, self._prefix = page, prefix
        self._place: Place | None = page.after
        self._found: list[RowMapping] = []
        self._looked = 0

    def go_on(self, budget: int) -> Found:
        """The next ``budget`` runs of the index."""
        missing = self._page.wanted - len(self._found)
        rows, place = self._page.along(self._prefix, self._place, budget, missing)
        self._found += rows
        if place is None:
            return self._found
        self._place, self._looked = place, self._looked + budget
        tried = self.outlook is not None
        self.outlook = _expected(self._looked, len(self._found), self._page.wanted, tried=tried)
        return None


class Follow:
    """Along a stream of entries in the order of the page, looking at their runs."""

    # Each of its runs lies somewhere else, and its first pieces are some statements.
    worth_trying: float | None = 4000

    def __init__(self, page: Page, stream: Stream) -> None:
        self.outlook: float | None = None
        self._page, self._stream = page, stream
        self._begin = page.after.key if page.after is not None else None
        if self._begin is None and page.order.by == "created":
            self._begin = page.where.created_before
        self._found: dict[int, RowMapping] = {}
        self._spent = 0.0
        self._runs = 0

    def go_on(self, budget: int) -> Found:
        """Pieces of the stream until the budget is spent."""
        page, until = self._page, self._spent + budget
        while self._spent < until:
            size, most = self._size(until - self._spent), int(until - self._spent) * ENTRIES_PER_RUN
            piece = self._stream.piece(page.session, self._begin, size=size, budget=max(size, most))
            # A run may come again with an entry further on; its place is that of the first.
            fresh = [run for run in piece.runs if run not in self._found]
            for row in page.of(fresh):
                self._found.setdefault(row["id"], row)
            if len(self._found) >= page.wanted or piece.horizon is None:
                return list(self._found.values())[: page.wanted]
            self._begin = piece.horizon
            self._runs += len(piece.runs)
            self._spent += len(piece.runs) + (size if piece.filled else max(size, most) / ENTRIES_PER_RUN)
        self.outlook = _expected(self._spent, len(self._found), page.wanted, tried=self.outlook is not None)
        return None

    def _size(self, budget: float) -> int:
        """How many runs to take at once: as many as the page seems to need yet."""
        least = 2 * self._page.wanted
        if not self._found:
            return least if not self._spent else max(least, int(budget))
        missing = (self._page.wanted - len(self._found)) * self._runs / len(self._found)
        return int(max(least, min(missing * 1.2, budget)))


class Few:
    """Taking all of a few candidates and sorting those that match.

    To look at many of them costs more than to meet the wanted ones along an index in the order of the page,
    whose beginning is ``prefix``.
    """

    def __init__(self, page: Page, candidates: Candidates, prefix: Prefix = ()) -> None:
        self.outlook: float | None = None
        self.worth_trying = candidates.worth_asking
        self._page, self._candidates, self._prefix = page, candidates, prefix
        self._most = 0
        self._counted = False

    def go_on(self, budget: int) -> Found:
        """Count the candidates as far as that is worth it; look at them if they are few or were counted."""
        if self._counted:
            return self._matching()
        candidates = self._candidates
        self._most = max(budget * candidates.per_run, self._most * _GROWTH, candidates.at_least)
        count = candidates.count(self._most)
        if count is not None and count <= budget * _FEW_PER_RUN:
            return self._matching()
        self._counted = count is not None
        per_run = _MET_PER_RUN if self._prefix else candidates.looked_at_per_run
        self.outlook = (self._most * _GROWTH if count is None else count) / per_run
        return None

    def _matching(self) -> Found:
        with collector_paused:
            return self._met(self._candidates.runs())

    def _met(self, candidates: set[int]) -> Found:
        page = self._page
        size = _FIRST_MET
        while self._prefix and size < len(candidates):
            along = page.keys_along(self._prefix, size)
            met = page.of([run for run in along if run in candidates])
            if len(met) >= page.wanted or len(along) < size:
                return met
            size = int(size * max(2.0, _SPARE * page.wanted / max(1, len(met))))
        return page.of(candidates)


def _expected(spent: float, found: int, wanted: int, *, tried: bool = False) -> float:
    if found:
        return spent * (wanted - found) / found
    # What begins rare may come often later on: the newest runs have no errors yet. But not for long.
    return spent * (wanted if tried else _GROWTH)
