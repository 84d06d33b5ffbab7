"""Versions of datasets: one row per version, and what becomes of a version that nobody named."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, delete, func, or_, select, update
from sqlmodel import Session

from bridge.lineage.bulk import in_pieces, upsert
from bridge.lineage.tables import DATASET_USES, DATASET_VERSIONS, DATASETS, RUNS

VersionKey = tuple[int, str, int]
_KEY = ("dataset", "version", "unknown_by")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What somebody told of one version of a dataset; ``version`` ``""`` if they did not name it.

    ``certain``: whoever told wrote it themselves, which counts more than what readers say of it.
    """

    dataset: int
    version: str = ""
    version_kind: str | None = None
    rows: int | None = None
    bytes: int | None = None
    producer: int | None = None
    written_at: datetime | None = None
    certain: bool = False


def store_versions(session: Session, project: str, told: Sequence[Told]) -> list[int]:
    """The rows of the versions told of, in the same order, made or completed as needed.

    A version that was not named but whose writer is known is the version of that dataset which the
    writer is known to have written, if any is; and when a name for it comes later, the nameless row
    becomes part of the named one. So an OpenLineage event that names no version and a submission that
    does still meet in one row.
    """
    named = _named_by_producer(session, [one for one in told if not one.version])
    keys = [_key(one, named) for one in told]
    for certain in (False, True):
        rows = [
            _row(project, one, key) for one, key in zip(told, keys, strict=True) if one.certain is certain
        ]
        _upsert(session, rows, certain)
    ids = _ids(session, keys)
    _absorb_nameless(session, told, ids)
    return [ids[key] for key in keys]


def _key(told: Told, named: Mapping[tuple[int, int], str]) -> VersionKey:
    """The natural key of what was told."""
    if told.version or told.producer is None:
        return (told.dataset, told.version, 0)
    version = named.get((told.dataset, told.producer))
    return (told.dataset, "", told.producer) if version is None else (told.dataset, version, 0)


def newer_versions(session: Session, run_id: UUID) -> dict[tuple[UUID, str], str]:
    """Of the data that a run read, by dataset and the version that it read: the newest version since.

    That is one written after the run was created; or, where nobody told when it was written, first heard of
    after what the run read. Versions of two kinds, such as a digest and a table's number, do not compare.
    """
    own, other = DATASET_VERSIONS.alias("own"), DATASET_VERSIONS.alias("other")
    heard_of = DATASET_USES.alias("heard_of")
    before = select(heard_of.c.id).where(heard_of.c.version == other.c.id, heard_of.c.id < DATASET_USES.c.id)
    since = or_(
        other.c.written_at > RUNS.c.created_at,
        other.c.written_at.is_(None) & (other.c.id > own.c.id) & ~before.exists(),
    )
    statement = (
        select(DATASETS.c.dataset_id, own.c.version.label("own"), other.c.version.label("newer"))
        .select_from(RUNS)
        .join(DATASET_USES, DATASET_USES.c.run == RUNS.c.id)
        .join(own, own.c.id == DATASET_USES.c.version)
        .join(DATASETS, DATASETS.c.id == own.c.dataset)
        .join(other, (other.c.dataset == own.c.dataset) & (other.c.id != own.c.id))
        .where(RUNS.c.run_id == run_id, own.c.version != "", other.c.version != "", since)
        # An OpenLineage event does not tell the kind.
        .where(
            func.coalesce(other.c.version_kind, own.c.version_kind, "")
            == func.coalesce(own.c.version_kind, other.c.version_kind, "")
        )
        .order_by(other.c.id)
    )
    return {(row.dataset_id, row.own): row.newer for row in session.execute(statement)}


def _named_by_producer(session: Session, told: Sequence[Told]) -> dict[tuple[int, int], str]:
    """The newest named version that a job run wrote of a dataset, by dataset and job run."""
    wanted = {(one.dataset, one.producer) for one in told if one.producer is not None}
    columns = DATASET_VERSIONS.c
    found: dict[tuple[int, int], str] = {}
    for piece in in_pieces({dataset for dataset, _ in wanted}):
        statement = (
            select(columns.dataset, columns.producer, columns.version)
            .where(columns.dataset.in_(piece), columns.version != "", columns.producer.is_not(None))
            .order_by(columns.id)
        )
        for row in session.execute(statement):
            if (row.dataset, row.producer) in wanted:
                found[(row.dataset, row.producer)] = row.version
    return found


def _row(project: str, told: Told, key: VersionKey) -> dict[str, Any]:
    return {
        "project": project,
        **dict(zip(_KEY, key, strict=True)),
        "version_kind": told.version_kind,
        "rows": told.rows,
        "bytes": told.bytes,
        "producer": told.producer,
        "written_at": told.written_at,
    }


def _upsert(session: Session, rows: list[dict[str, Any]], certain: bool) -> None:
    facts = ("version_kind", "rows", "bytes", "producer", "written_at")
    if certain:
        upsert(session, DATASET_VERSIONS, rows, key=_KEY, keep_known=facts)
    else:
        upsert(session, DATASET_VERSIONS, rows, key=_KEY, keep_first=facts)


def _ids(session: Session, keys: Collection[VersionKey]) -> dict[VersionKey, int]:
    wanted = set(keys)
    columns = DATASET_VERSIONS.c
    found: dict[VersionKey, int] = {}
    for piece in in_pieces(sorted(wanted)):
        # Two plain lists let the index work and hold little more than the pairs asked for.
        statement = select(columns.id, *(columns[name] for name in _KEY)).where(
            columns.dataset.in_({dataset for dataset, _, _ in piece}),
            columns.version.in_({version for _, version, _ in piece}),
        )
        for row in session.execute(statement):
            key = (row.dataset, row.version, row.unknown_by)
            if key in wanted:
                found[key] = row.id
    return found


def _absorb_nameless(session: Session, told: Sequence[Told], ids: dict[VersionKey, int]) -> None:
    """Versions that were nameless until now: their edges and facts go over to the named row."""
    named = {
        (one.dataset, one.producer): ids[(one.dataset, one.version, 0)]
        for one in told
        if one.version and one.producer is not None
    }
    columns = DATASET_VERSIONS.c
    for piece in in_pieces(sorted(named)):
        statement = select(DATASET_VERSIONS).where(
            columns.version == "",
            columns.dataset.in_({dataset for dataset, _ in piece}),
            columns.unknown_by.in_({producer for _, producer in piece}),
        )
        for row in session.execute(statement).mappings().all():
            name = named.get((row["dataset"], row["unknown_by"]))
            if name is not None:
                _merge(session, row, name)


def _merge(session: Session, nameless: RowMapping, named: int) -> None:
    old = nameless["id"]
    columns = DATASET_VERSIONS.c
    facts = {
        name: func.coalesce(columns[name], nameless[name])
        for name in ("rows", "bytes", "producer", "written_at")
        if nameless[name] is not None
    }
    if facts:
        session.execute(update(DATASET_VERSIONS).where(columns.id == named).values(**facts))
    kept = DATASET_USES.alias("kept")
    same_run = (kept.c.run == DATASET_USES.c.run) & (kept.c.name == DATASET_USES.c.name)
    same_job_run = (kept.c.job_run == DATASET_USES.c.job_run) & (kept.c.direction == DATASET_USES.c.direction)
    twice = select(kept.c.id).where(kept.c.version == named, same_run | same_job_run).exists()
    session.execute(delete(DATASET_USES).where(DATASET_USES.c.version == old, twice))
    session.execute(update(DATASET_USES).where(DATASET_USES.c.version == old).values(version=named))
    session.execute(delete(DATASET_VERSIONS).where(columns.id == old))
