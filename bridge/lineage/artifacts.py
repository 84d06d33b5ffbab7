"""The list of artifacts, newest first, each with the run that made it.

A page costs the same wherever it is: it is looked for in a window of candidates, which an index has in their
order (the artifacts of a type, or what the runs of a pipeline put out). A text that few of them have is not
looked for any further: the page is short then, and its cursor goes on after the window.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Select, func, literal, or_, select, tuple_
from sqlmodel import Session

from bridge.domain.lineage import Artifact, Direction, Run
from bridge.lineage.columns import Uid, UtcTime
from bridge.lineage.convert import run_from_row
from bridge.lineage.cursors import make_cursor, page_size, parse_key, parse_moment, read_cursor
from bridge.lineage.reading import artifact_from_row
from bridge.lineage.tables import ARTIFACT_USES, ARTIFACTS, RUNS, TASKS

# How many candidates a page is looked for in.
WINDOW = 2000
_OF_ALL, _OF_PIPELINE = "artifacts", "artifacts-of-pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFilter:
    """What is wanted: of a type (``system.Model``), of a pipeline's runs, of projects, with a text in its
    name, URI or digest."""

    type: str | None = None
    pipeline: str | None = None
    projects: tuple[str, ...] = ()
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedArtifact:
    """An artifact, and the first run and task that put it out under a key, as far as that is known."""

    artifact: Artifact
    backend: str
    project: str
    run: Run | None = None
    task_path: str | None = None
    key: str | None = None


def list_artifacts(
    session: Session, where: ArtifactFilter, *, cursor: str | None = None, limit: int = 50
) -> tuple[list[ListedArtifact], str | None]:
    """A page and the next one's cursor. Raises ``CursorError``."""
    limit = page_size(limit)
    listing: _Listing = _OfPipeline(where.pipeline) if where.pipeline is not None else _OfAll(where.type)
    rows: list[RowMapping] = []
    for size in _sizes(limit):
        inner = listing.candidates(cursor)
        rows += session.execute(_found_among(inner, size, where, listing, limit + 1 - len(rows))).mappings()
        if len(rows) > limit:
            last = rows[limit - 1]
            cursor = make_cursor(listing.kind, *(last[f"by_{name}"] for name in listing.order))
            break
        end = session.execute(inner.offset(size - 1).limit(1)).mappings().first()
        if end is None:
            cursor = None
            break
        cursor = make_cursor(listing.kind, *(end[name] for name in listing.order))
    return _with_makers(session, rows[:limit]), cursor


def _sizes(limit: int) -> Iterator[int]:
    """How many candidates are looked at, few at first: a planner that is asked for thousands reads whole
    tables for them, and mostly a few pages' worth hold a page."""
    left, size = WINDOW, 4 * limit
    while left > 0:
        yield min(size, left)
        left, size = left - size, 4 * size


def _found_among(
    candidates: Select[Any], size: int, where: ArtifactFilter, listing: _Listing, wanted: int
) -> Select[Any]:
    window = candidates.limit(size).subquery("candidates")
    return (
        select(ARTIFACTS, *(window.c[name].label(f"by_{name}") for name in listing.order))
        .join(window, window.c.artifact == ARTIFACTS.c.id)
        .where(*_conditions(where, window))
        .order_by(*(window.c[name].desc() for name in listing.order))
        .limit(wanted)
    )


class _Listing(ABC):
    """Candidates in an order that an index has: columns ``artifact`` and those of ``order``."""

    kind: str
    order: tuple[str, ...]

    @abstractmethod
    def candidates(self, cursor: str | None) -> Select[Any]:
        """All of them after the cursor."""


class _OfAll(_Listing):
    kind = _OF_ALL
    order = ("artifact",)

    def __init__(self, type_: str | None) -> None:
        self._type = type_

    def candidates(self, cursor: str | None) -> Select[Any]:
        """Of the type, if there is one."""
        found = select(ARTIFACTS.c.id.label("artifact")).order_by(ARTIFACTS.c.id.desc())
        if self._type is not None:
            found = found.where(ARTIFACTS.c.type == self._type).order_by(None)
            found = found.order_by(ARTIFACTS.c.type.desc(), ARTIFACTS.c.id.desc())
        if cursor is not None:
            (last,) = read_cursor(self.kind, cursor, parse_key)
            found = found.where(ARTIFACTS.c.id < last)
        return found


class _OfPipeline(_Listing):
    kind = _OF_PIPELINE
    order = ("created_at", "run_id", "use")

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline

    def candidates(self, cursor: str | None) -> Select[Any]:
        """What the newest runs put out first."""
        keys = (RUNS.c.created_at, RUNS.c.run_id, ARTIFACT_USES.c.id)
        found = (
            select(
                *(ARTIFACT_USES.c.artifact, keys[0], keys[1], keys[2].label("use")),
                # Here, or PostgreSQL asks it of every artifact there is.
                _first_use(ARTIFACT_USES.c.artifact).label("made_by"),
            )
            .select_from(RUNS)
            .join(ARTIFACT_USES, ARTIFACT_USES.c.run == RUNS.c.id)
            .where(
                RUNS.c.pipeline_name == self._pipeline, ARTIFACT_USES.c.direction == Direction.OUTPUT.value
            )
            .order_by(*(key.desc() for key in keys))
        )
        if cursor is not None:
            after: tuple[datetime, UUID, int]
            after = tuple(read_cursor(self.kind, cursor, parse_moment, UUID, parse_key))
            # The first two are what the index is entered by.
            found = found.where(
                tuple_(keys[0], keys[1]) <= tuple_(*_typed(after[:2])),
                tuple_(*keys) < tuple_(*_typed(after)),
            )
        return found


def _typed(keys: tuple[Any, ...]) -> list[Any]:
    types = (UtcTime(), Uid(), None)
    return [
        literal(key, kind) if kind is not None else literal(key)
        for key, kind in zip(keys, types, strict=False)
    ]


def _conditions(where: ArtifactFilter, window: Any) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if where.projects:
        found.append(ARTIFACTS.c.project.in_(where.projects))
    if where.text:
        columns = (ARTIFACTS.c.name, ARTIFACTS.c.uri, ARTIFACTS.c.digest)
        text = where.text.lower()
        found.append(or_(*(func.lower(column).contains(text, autoescape=True) for column in columns)))
    if where.pipeline is not None:
        if where.type is not None:
            found.append(ARTIFACTS.c.type == where.type)
        # Runs that take it from the cache put it out again; it stands where it was made.
        found.append(window.c.use == window.c.made_by)
    return found


def _first_use(artifact: ColumnElement[Any]) -> Any:
    """The use that made the artifact: the first one not taken from the cache; of old runs the newest may be
    stored first. If all that are known are from the cache, the first of them."""
    uses, tasks = ARTIFACT_USES.alias("first_use"), TASKS.alias("first_task")
    first = (
        select(uses.c.id)
        .where(uses.c.artifact == artifact, uses.c.direction == Direction.OUTPUT.value)
        .order_by(uses.c.id)
        .limit(1)
    )
    made = first.join(tasks, tasks.c.id == uses.c.task).where(tasks.c.cached.is_(False))
    # Not one query in the order of both: that would have to sort all uses of what is taken again and again.
    return func.coalesce(made.scalar_subquery(), first.scalar_subquery())


def _with_makers(session: Session, rows: list[RowMapping]) -> list[ListedArtifact]:
    keys = [row["id"] for row in rows]
    uses = {
        key: use
        for key, use in session.execute(
            select(ARTIFACTS.c.id, _first_use(ARTIFACTS.c.id)).where(ARTIFACTS.c.id.in_(keys))
        )
        if use is not None
    }
    made = {
        row.artifact: row
        for row in session.execute(
            select(ARTIFACT_USES.c.artifact, ARTIFACT_USES.c.run, ARTIFACT_USES.c.key, TASKS.c.path)
            .join(TASKS, TASKS.c.id == ARTIFACT_USES.c.task)
            .where(ARTIFACT_USES.c.id.in_(uses.values()))
        )
    }
    wanted = {row.run for row in made.values()}
    runs = {
        row["id"]: run_from_row(row)
        for row in session.execute(select(RUNS).where(RUNS.c.id.in_(wanted))).mappings()
    }
    return [_listed(row, made.get(row["id"]), runs) for row in rows]


def _listed(row: RowMapping, made: Any, runs: dict[int, Run]) -> ListedArtifact:
    facts = {"artifact": artifact_from_row(row), "backend": row["backend"], "project": row["project"]}
    if made is None:
        return ListedArtifact(**facts)
    return ListedArtifact(**facts, run=runs[made.run], task_path=made.path, key=made.key)
