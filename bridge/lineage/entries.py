"""Entries of an index that lead to runs: values of a metric, labels and words.

A stream of entries in order is read piece by piece. Entries with the same time or value all come in one
piece, so that whoever sorts a piece by further keys has the whole order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    cast,
    column,
    func,
    literal,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Session

from bridge.lineage.narrowing import compared
from bridge.lineage.records import MetricFilter
from bridge.lineage.tables import METRICS, RUN_LABELS, RUNS
from bridge.lineage.words import is_whole

# An entry of an index costs a fraction of a run.
ENTRIES_PER_RUN = 30
# So many of the newest runs tell how often a word is; one that more than this share of them has is often.
_SAMPLE = 300
_TELLING_SHARE = 0.2
# So many words that begin alike are looked for each by itself.
_MOST_WHOLE = 8
# From word to word through the index, whatever lies between them.
_BEGINNING_SO = text("""
    WITH RECURSIVE words (word) AS (
      SELECT (SELECT term FROM run_words_terms WHERE term >= :word AND term < :end ORDER BY term LIMIT 1)
      UNION ALL
      SELECT (SELECT term FROM run_words_terms WHERE term > words.word AND term < :end ORDER BY term LIMIT 1)
      FROM words WHERE words.word IS NOT NULL LIMIT :most
    )
    SELECT word FROM words WHERE word IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class Piece:
    """The runs of a piece of a stream with their place in the order; ``horizon`` is where the next piece
    begins (that place included), ``None`` at the end of the stream. ``filled``: it holds as many as were
    asked for, and perhaps not all of the entries that might have been looked at were."""

    runs: dict[int, Any]
    horizon: Any | None
    filled: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """An index to read from: entries of ``part`` by ``place``, newest or highest first if ``descending``.

    ``keep`` is what an entry must meet besides; it is looked at in the index itself.
    """

    part: Select[Any]
    place: ColumnElement[Any]
    keep: Callable[[Any], ColumnElement[bool]] | None = None
    descending: bool = True

    def piece(self, session: Session, begin: Any | None, *, size: int, budget: int) -> Piece:
        """The entries from ``begin`` on (included): up to ``size`` of them, looking at ``budget`` at most.

        Both grow by themselves where more entries than that have one place.
        """
        while True:
            rows, horizon = self._read(session, begin, size, budget)
            if horizon is None:
                return Piece({run: place for place, run in rows}, None, filled=False)
            if begin is None or horizon != begin:
                kept = {run: place for place, run in rows if place != horizon}
                return Piece(kept, horizon, filled=len(rows) == size)
            size, budget = size * 4, budget * 4

    def _read(
        self, session: Session, begin: Any | None, size: int, budget: int
    ) -> tuple[Sequence[Any], Any | None]:
        part = self.part
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


def newest_measured(metric: MetricFilter) -> Stream:
    """Runs that measure so, newest first."""
    columns = METRICS.c
    return Stream(
        select(columns.created_at, columns.run, columns.value).where(
            columns.key == metric.key, columns.created_at.is_not(None)
        ),
        columns.created_at,
        lambda looked_at: compared(looked_at.value, metric),
    )


def by_metric(key: str, *, descending: bool) -> Stream:
    """Runs in the order of a metric."""
    part = select(METRICS.c.value, METRICS.c.run).where(METRICS.c.key == key)
    return Stream(part, METRICS.c.value, descending=descending)


def newest_labelled(name: str, value: str) -> Stream:
    """Runs with a label, newest first."""
    part = select(RUN_LABELS.c.created_at, RUN_LABELS.c.run).where(
        RUN_LABELS.c.name == name, RUN_LABELS.c.value == value
    )
    return Stream(part, RUN_LABELS.c.created_at)


class Candidates:
    """Runs that may match: all of those that do are among them. An SQL statement that gives their keys."""

    # How many can be counted at the cost of one run that is looked at, and how many are counted at least.
    per_run = ENTRIES_PER_RUN
    at_least = 0
    # How many are looked at, wherever they lie, at the cost of one run of another way.
    looked_at_per_run = 1.0
    # They are asked for only where more runs than this would have to be looked at without them; ``None``: as
    # soon as anything else seems long.
    worth_asking: float | None = None

    def __init__(self, session: Session, statement: Select[Any]) -> None:
        self._session, self._statement = session, statement

    def count(self, most: int) -> int | None:
        """How many there are; ``None`` for more than ``most``."""
        part = self._statement.limit(most + 1).subquery("part")
        found: int = self._session.execute(select(func.count()).select_from(part)).scalar_one()
        return found if found <= most else None

    def runs(self) -> set[int]:
        """All of them."""
        return _told(self._session, self._statement)


class Worded(Candidates):
    """Runs with those of the words that tell few. Each is the beginning of a word; those of ``names`` are
    words.

    To begin is what costs: the index adds up all runs that have a word before it gives one. So it is asked
    late, and then for all runs at once.
    """

    at_least = 20_000
    # A walk compares the words of the run that it has before it; to look for a run costs more than that.
    looked_at_per_run = 0.25
    worth_asking: float | None = 15_000

    def __init__(self, session: Session, words: Sequence[str], names: Sequence[str] = ()) -> None:
        self._session = session
        self._asked = {word: is_whole(word) for word in words} | dict.fromkeys(names, True)
        self._telling: list[str] | None = None
        self._runs: set[int] = set()

    def count(self, most: int) -> int | None:
        """How many there are; ``None`` for more than ``most``, or if none of the words tells few."""
        if self._telling is None:
            self._telling = _telling(self._session, self._asked)
        if not self._telling:
            return None
        is_sqlite = self._session.get_bind().dialect.name == "sqlite"
        found = (self._on_sqlite if is_sqlite else self._on_postgresql)(self._telling)
        self._runs = _told(self._session, found.limit(most + 1)) if found is not None else set()
        return len(self._runs) if len(self._runs) <= most else None

    def runs(self) -> set[int]:
        """Those that were counted."""
        return self._runs

    def _on_sqlite(self, words: Sequence[str]) -> Select[Any] | None:
        asked = [_whole_words(self._session, word, whole=self._asked[word]) for word in words]
        if not all(asked):
            return None
        found = select(table("run_words", column("rowid")).c.rowid.label("run"))
        return found.where(text("run_words MATCH :asked")).params(asked=" AND ".join(asked))

    def _on_postgresql(self, words: Sequence[str]) -> Select[Any]:
        asked = " & ".join(f"'{word}'" if self._asked[word] else f"'{word}':*" for word in words)
        found = select(table("run_words", column("run")).c.run)
        found = found.where(text("run_words.words @@ CAST(:asked AS tsquery)")).params(asked=asked)
        # With a LIMIT beside the search it would rather read the table than the index.
        return select(found.cte("worded").prefix_with("MATERIALIZED").c.run)


def _whole_words(session: Session, word: str, *, whole: bool) -> str:
    """What SQLite's index is asked for a word. A beginning is the words that begin so, if they are some: to
    compare those it skips what it need not see, while of a beginning it adds up all runs first. Empty: no
    run has such a word."""
    if whole:
        return f'"{word}"'
    if not word.isascii():
        # The index may spell its letters otherwise.
        return f'"{word}"*'
    given = {"word": word, "end": f"{word}{chr(sys.maxunicode)}", "most": _MOST_WHOLE + 1}
    found = session.scalars(_BEGINNING_SO, given).all()
    if len(found) > _MOST_WHOLE:
        return f'"{word}"*'
    told = " OR ".join(f'"{one}"' for one in found)
    return f"({told})" if found else ""


def measured(session: Session, metric: MetricFilter) -> Candidates:
    """All runs that measure so."""
    wanted = (METRICS.c.key == metric.key, compared(METRICS.c.value, metric))
    # A planner's guess of how many there are must not lead to another index.
    return Candidates(session, select(METRICS.c.run).where(*wanted).order_by(METRICS.c.value))


def _telling(session: Session, words: Mapping[str, bool]) -> list[str]:
    """The words that hardly any of the newest runs has.

    An index adds up all runs that have a word before it can leave any out.
    """
    newest = select(RUNS.c.words).order_by(RUNS.c.created_at.desc(), RUNS.c.run_id.desc())
    sample = [f"{text} " for text in session.scalars(newest.limit(_SAMPLE))]
    most = max(1.0, len(sample) * _TELLING_SHARE)
    asked = {word: f" {word} " if whole else f" {word}" for word, whole in words.items()}
    return [word for word, part in asked.items() if sum(part in text for text in sample) <= most]


def _told(session: Session, statement: Select[Any]) -> set[int]:
    """The surrogate keys that a statement gives, as one text: to find them takes less than a row for each."""
    part = statement.subquery("part")
    joined = func.group_concat if session.get_bind().dialect.name == "sqlite" else func.string_agg
    told = session.scalar(select(joined(cast(part.c[0], Text), literal(","))))
    return set(map(int, told.split(","))) if told else set()


def given(session: Session, ids: Sequence[int]) -> Select[Any]:
    """A list of surrogate keys as rows, however long, in one parameter."""
    told = ",".join(map(str, ids))
    if session.get_bind().dialect.name == "postgresql":
        # As a text: the driver takes longer over a list of some thousands than the database over the query.
        return select(func.unnest(cast(literal(f"{{{told}}}", Text), ARRAY(BigInteger))).label("id"))
    rows = func.json_each(f"[{told}]").table_valued("value")
    return select(rows.c.value.label("id"))
