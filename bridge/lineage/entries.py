"""Entries of an index that lead to runs, in order: values of a metric and labels, newest or best first.

Each stream is read piece by piece. Entries of several projects are merged; of entries with the same
time or value all come in one piece, so that whoever sorts a piece by further keys has the whole order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Session

from bridge.lineage.narrowing import compared
from bridge.lineage.records import MetricFilter
from bridge.lineage.tables import METRICS, RUN_LABELS

_PROJECTS = text(
    "WITH RECURSIVE p (project) AS ("
    " SELECT min(project) FROM runs"
    " UNION ALL SELECT (SELECT min(project) FROM runs WHERE project > p.project) FROM p"
    " WHERE p.project IS NOT NULL"
    ") SELECT project FROM p WHERE project IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """The runs of a piece of a stream with their place in the order; ``horizon`` is where the next piece
    begins (that place included), ``None`` at the end of the stream."""

    runs: dict[int, Any]
    horizon: Any | None


@dataclass(frozen=True, slots=True)
class Stream:
    """One index to read from: a statement for each of its parts (projects), all ordered by ``place``.

    ``keep`` is what an entry must meet besides; it is looked at in the index itself.
    """

    parts: Sequence[Select[Any]]
    place: ColumnElement[Any]
    keep: Callable[[Any], ColumnElement[bool]] | None = None
    descending: bool = True

    def piece(self, session: Session, begin: Any | None, *, size: int, budget: int) -> Piece:
        """The entries from ``begin`` on (included): up to ``size`` of them, looking at ``budget`` at most.

        ``size`` grows by itself where more entries than that have one place.
        """
        while True:
            read = [self._read(session, part, begin, size, budget) for part in self.parts]
            cuts = [horizon for _, horizon in read if horizon is not None]
            if not cuts:
                return Piece({run: place for rows, _ in read for place, run in rows}, None)
            horizon = max(cuts) if self.descending else min(cuts)
            if begin is None or horizon != begin:
                runs = {run: place for rows, _ in read for place, run in rows if self._before(place, horizon)}
                return Piece(runs, horizon)
            size, budget = size * 4, budget * 4

    def _before(self, place: Any, horizon: Any) -> bool:
        return bool(place > horizon if self.descending else place < horizon)

    def _read(
        self, session: Session, part: Select[Any], begin: Any | None, size: int, budget: int
    ) -> tuple[Sequence[Any], Any | None]:
        if begin is not None:
            part = part.where(self.place <= begin if self.descending else self.place >= begin)
        part = part.order_by(self.place.desc() if self.descending else self.place)
        if self.keep is None:
            rows = session.execute(part.limit(size)).all()
            return rows, rows[-1][0] if len(rows) == size else None
        # The inner LIMIT bounds what is looked at, and keeps planners from choosing another index.
        looked_at = part.limit(budget).subquery("looked_at")
        kept = select(looked_at.c[0], looked_at.c[1]).where(self.keep(looked_at.c)).limit(size)
        rows = session.execute(kept).all()
        if len(rows) == size:
            return rows, rows[-1][0]
        last = session.execute(part.with_only_columns(self.place).offset(budget - 1).limit(1)).first()
        return rows, last[0] if last else None


def newest_measured(projects: Sequence[str], metric: MetricFilter) -> Stream:
    """Runs that measure so, newest first."""
    return Stream(
        [
            select(METRICS.c.created_at, METRICS.c.run, METRICS.c.value).where(
                METRICS.c.project == project, METRICS.c.key == metric.key, METRICS.c.created_at.is_not(None)
            )
            for project in projects
        ],
        METRICS.c.created_at,
        lambda columns: compared(columns.value, metric),
    )


def by_metric(projects: Sequence[str], key: str, *, descending: bool) -> Stream:
    """Runs in the order of a metric."""
    return Stream(
        [
            select(METRICS.c.value, METRICS.c.run).where(METRICS.c.project == project, METRICS.c.key == key)
            for project in projects
        ],
        METRICS.c.value,
        descending=descending,
    )


def newest_labelled(name: str, value: str) -> Stream:
    """Runs with a label, newest first."""
    part = select(RUN_LABELS.c.created_at, RUN_LABELS.c.run).where(
        RUN_LABELS.c.name == name, RUN_LABELS.c.value == value
    )
    return Stream([part], RUN_LABELS.c.created_at)


def measured(
    session: Session, projects: Sequence[str], metric: MetricFilter, *, most: int
) -> set[int] | None:
    """All runs that measure so; ``None`` if there are more than ``most`` entries."""
    statement = (
        select(METRICS.c.run)
        .where(
            METRICS.c.project.in_(projects), METRICS.c.key == metric.key, compared(METRICS.c.value, metric)
        )
        .limit(most + 1)
    )
    found = session.scalars(statement).all()
    return set(found) if len(found) <= most else None


def worded(session: Session, words: Sequence[str], *, most: int) -> set[int] | None:
    """All runs with words that begin so; ``None`` if there are more than ``most``."""
    if session.get_bind().dialect.name == "postgresql":
        statement = text("SELECT run FROM run_words WHERE words @@ CAST(:asked AS tsquery) LIMIT :most")
        asked = " & ".join(f"'{word}':*" for word in words)
    else:
        statement = text("SELECT rowid FROM run_words WHERE run_words MATCH :asked LIMIT :most")
        asked = " AND ".join(f'"{word}"*' for word in words)
    found = session.scalars(statement, {"asked": asked, "most": most + 1}).all()
    return set(found) if len(found) <= most else None


def all_projects(session: Session) -> list[str]:
    """Every project that has runs; as many steps in an index as there are projects."""
    return list(session.scalars(_PROJECTS))


def given(session: Session, ids: Sequence[int]) -> Select[Any]:
    """A list of surrogate keys as rows, however long, in one parameter."""
    if session.get_bind().dialect.name == "postgresql":
        return select(func.unnest(cast(list(ids), ARRAY(BigInteger))).label("id"))
    rows = func.json_each(f"[{','.join(map(str, ids))}]").table_valued("value")
    return select(rows.c.value.label("id"))
