"""The runs of a crowded KFP server, and what becomes of them."""

from __future__ import annotations

import heapq
import time
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from uuid import NAMESPACE_URL, uuid5

TASKS = 5
OPEN_STATES = ("", "PENDING", "RUNNING", "PAUSED", "CANCELING")
# Argo's controller and the agent take so long to say more of a fresh run than that it is there.
_FRESH_MS = 300


def run_id_of(number: int) -> str:
    """The id of the run that was there from the start under this number."""
    return str(uuid5(NAMESPACE_URL, f"crowded/{number}"))


def now_ms() -> int:
    """The server's clock."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Row:
    """A run. ``state`` and ``finished_s`` are what the row tells, ``end`` what Argo knows before that.

    ``changed_at`` is when the row came to tell the end. ``done`` counts finished tasks, and ``updates`` tells
    when the root and each task changed in the metadata, in ms.
    """

    number: int
    run_id: str
    namespace: str
    created_ms: int
    state: str = "RUNNING"
    finished_s: int = 0
    end: tuple[str, int] | None = None
    changed_at: float = 0.0
    done: int = 0
    updates: list[int] | None = None
    body: dict[str, object] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the row tells no end."""
        return self.finished_s == 0


@dataclass
class _Index:
    """The runs of one namespace: the unfinished by creation, the others by their end."""

    open: list[tuple[int, int]] = field(default_factory=list)
    ended: list[tuple[int, int]] = field(default_factory=list)


class Rows:
    """All rows. ``namespaces`` empty is single-user KFP; else runs are dealt out to them in turn."""

    def __init__(self, namespaces: Sequence[str] = (), seed: int = 1) -> None:
        self.namespaces = tuple(namespaces)
        self.all: list[Row] = []
        self.by_id: dict[str, Row] = {}
        self.index: dict[str, _Index] = {name: _Index() for name in self.namespaces or ("",)}
        self.changes: list[tuple[int, int, int]] = []
        self.random = Random(seed)
        self._reports: list[tuple[float, int]] = []

    def fill(self, ended: int, active: int, *, stateless_every: int = 50) -> None:
        """The rows that are there from the start: ended over the last months, and running ones, one in so
        many of them without a state (0: none)."""
        now = now_ms()
        for number in range(ended):
            row = self.add(run_id_of(number), created_ms=now - (ended - number) * 60_000 - 7_200_000)
            row.done, row.end = TASKS, ("SUCCEEDED", row.created_ms // 1000 + 600)
            self._tell_end(row)
        for number in range(ended, ended + active):
            row = self.add(run_id_of(number), created_ms=now - 3_600_000 + number)
            # A Workflow without a phase is stored without a state.
            row.state = "" if stateless_every and number % stateless_every == 0 else "RUNNING"

    def add(self, run_id: str, *, created_ms: int | None = None, namespace: str | None = None) -> Row:
        """A new row without a state, as fresh ones are."""
        number = len(self.all)
        if namespace is None:
            namespace = self.namespaces[number % len(self.namespaces)] if self.namespaces else ""
        row = Row(number, run_id, namespace, now_ms() if created_ms is None else created_ms, state="")
        self.all.append(row)
        self.by_id[run_id] = row
        insort(self.index[namespace].open, (row.created_ms, number))
        return row

    def delete(self, row: Row) -> None:
        """The row is gone, as after a deletion or garbage collection."""
        index = self.index[row.namespace]
        _remove(index.open, (row.created_ms, row.number))
        _remove(index.ended, (row.finished_s, row.number))
        del self.by_id[row.run_id]

    def open_rows(self) -> list[Row]:
        """The runs that go on, those whose end is not told yet left out."""
        places = (place for index in self.index.values() for place in index.open)
        return [row for _, number in places if (row := self.all[number]).end is None]

    def finish(self, rows: Sequence[Row], state: str, lag: tuple[float, float]) -> None:
        """The runs end now, in Argo and in the metadata; their rows tell it after so many seconds."""
        now = time.time()
        for row in rows:
            row.end = (state, int(now))
            self.advance(row, TASKS)
            heapq.heappush(self._reports, (now + self.random.uniform(*lag), row.number))
        self.report()

    def advance(self, row: Row, done: int) -> None:
        """So many of the run's tasks are finished; the metadata store knows at once."""
        moment = max(now_ms(), self.changes[-1][0] if self.changes else 0)
        updates = row.updates or [row.created_ms] * (TASKS + 1)
        whole = range(TASKS + 1) if done == TASKS else range(row.done + 1, min(done + 1, TASKS) + 1)
        for place in whole:
            updates[place] = moment
            self.changes.append((moment, row.number, place))
        row.updates, row.done = updates, done

    def report(self) -> None:
        """What the agent would write by now: ends whose lag is over, and states of fresh rows."""
        now = time.time()
        while self._reports and self._reports[0][0] <= now:
            row = self.all[heapq.heappop(self._reports)[1]]
            if row.is_open and row.end is not None and row.run_id in self.by_id:
                self._tell_end(row)

    def show(self, row: Row) -> str:
        """The state as the row tells it now."""
        if row.state == "" and row.body is not None:
            age = now_ms() - row.created_ms
            return "" if age < _FRESH_MS else "PENDING" if age < 2 * _FRESH_MS else "RUNNING"
        return row.state

    def revive(self, row: Row) -> None:
        """KFP's ``:retry``."""
        _remove(self.index[row.namespace].ended, (row.finished_s, row.number))
        insort(self.index[row.namespace].open, (row.created_ms, row.number))
        row.state, row.finished_s, row.end, row.done = "RUNNING", 0, None, 0

    def _tell_end(self, row: Row) -> None:
        assert row.end is not None
        index = self.index[row.namespace]
        _remove(index.open, (row.created_ms, row.number))
        row.state, row.finished_s = row.end
        row.changed_at = time.time()
        insort(index.ended, (row.finished_s, row.number))


def _remove(places: list[tuple[int, int]], place: tuple[int, int]) -> None:
    at = bisect_left(places, place)
    if at < len(places) and places[at] == place:
        del places[at]
