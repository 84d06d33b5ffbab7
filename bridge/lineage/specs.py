"""Compiled pipelines by digest, pipelines by name, and where backends keep them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, delete, func, select, tuple_
from sqlmodel import Session

from bridge.lineage.bulk import insert_new, upsert
from bridge.lineage.cursors import make_cursor, page_size, read_cursor
from bridge.lineage.records import BackendVersion, StoredPipeline, StoredSpec
from bridge.lineage.tables import BACKEND_VERSIONS, PIPELINE_VERSIONS, PIPELINES, SPECS


def store_spec(
    session: Session,
    project: str,
    name: str,
    digest: str,
    text: str,
    *,
    at: datetime,
    version_name: str | None = None,
) -> None:
    """Keep a spec, its pipeline's name and its version; storing it again changes nothing, except that a
    version without a name gets the one now given."""
    # Looked for first: an upsert locks the row even where it changes nothing, until the transaction ends.
    if _is_stored(session, project, name, digest, version_name):
        return
    store_text(session, project, name, digest, text, at=at)
    pipeline = ensure_pipeline(session, project, name, at=at)
    upsert(
        session,
        PIPELINE_VERSIONS,
        [
            {
                "project": project,
                "pipeline": pipeline,
                "digest": digest,
                "version_name": version_name,
                "created_at": at,
            }
        ],
        key=("pipeline", "digest"),
        keep_known=("version_name",),
        keep_first=("created_at",),
    )


def _is_stored(session: Session, project: str, name: str, digest: str, version_name: str | None) -> bool:
    statement = (
        _versions(project, name).where(PIPELINE_VERSIONS.c.digest == digest).with_only_columns(SPECS.c.id)
    )
    if version_name is not None:
        statement = statement.where(PIPELINE_VERSIONS.c.version_name == version_name)
    return session.scalars(statement).first() is not None


def store_text(session: Session, project: str, name: str, digest: str, text: str, *, at: datetime) -> None:
    """Keep a spec that is no version of its pipeline: what a run's caching made of one."""
    row = {"project": project, "digest": digest, "name": name, "content": text, "created_at": at}
    insert_new(session, SPECS, [row])


def ensure_pipeline(session: Session, project: str, name: str, *, at: datetime) -> int:
    """The surrogate key of the pipeline's row, made now if it is new."""
    insert_new(session, PIPELINES, [{"project": project, "name": name, "created_at": at}])
    where = (PIPELINES.c.project == project, PIPELINES.c.name == name)
    key: int = session.scalars(select(PIPELINES.c.id).where(*where)).one()
    return key


def has_spec(session: Session, project: str, digest: str) -> bool:
    """Whether the spec is stored, without reading its text."""
    where = (SPECS.c.project == project, SPECS.c.digest == digest)
    return session.scalars(select(SPECS.c.id).where(*where)).first() is not None


def has_version(session: Session, project: str, name: str, digest: str) -> bool:
    """Whether the pipeline has a version with this digest."""
    statement = (
        select(PIPELINE_VERSIONS.c.id)
        .join(PIPELINES, PIPELINES.c.id == PIPELINE_VERSIONS.c.pipeline)
        .where(PIPELINES.c.project == project, PIPELINES.c.name == name, PIPELINE_VERSIONS.c.digest == digest)
    )
    return session.scalars(statement).first() is not None


def get_spec(session: Session, project: str, digest: str) -> StoredSpec | None:
    """The spec with this digest."""
    where = (SPECS.c.project == project, SPECS.c.digest == digest)
    return _first_spec(session, select(SPECS).where(*where))


def find_pipeline(
    session: Session, project: str, name: str, version_name: str | None = None
) -> StoredSpec | None:
    """The spec of a pipeline's named version, or of its newest one."""
    return _first_spec(session, _named(project, name, version_name))


def find_digest(session: Session, project: str, name: str, version_name: str | None = None) -> str | None:
    """The digest of the spec that ``find_pipeline`` gives, without reading its text."""
    statement = _named(project, name, version_name).with_only_columns(SPECS.c.digest)
    return session.scalars(statement).first()


def _named(project: str, name: str, version_name: str | None) -> Select[Any]:
    statement = (
        _versions(project, name)
        .order_by(PIPELINE_VERSIONS.c.created_at.desc(), PIPELINE_VERSIONS.c.id.desc())
        .limit(1)
    )
    return (
        statement
        if version_name is None
        else statement.where(PIPELINE_VERSIONS.c.version_name == version_name)
    )


def _versions(project: str, name: str) -> Select[Any]:
    same_spec = (PIPELINE_VERSIONS.c.digest == SPECS.c.digest) & (
        PIPELINE_VERSIONS.c.project == SPECS.c.project
    )
    return (
        select(SPECS)
        .join(PIPELINE_VERSIONS, same_spec)
        .join(PIPELINES, PIPELINES.c.id == PIPELINE_VERSIONS.c.pipeline)
        .where(PIPELINES.c.project == project, PIPELINES.c.name == name)
    )


def _first_spec(session: Session, statement: Select[Any]) -> StoredSpec | None:
    row = session.execute(statement).mappings().first()
    if row is None:
        return None
    return StoredSpec(
        project=row["project"],
        name=row["name"],
        digest=row["digest"],
        text=row["content"],
        created_at=row["created_at"],
    )


def list_pipelines(
    session: Session, projects: tuple[str, ...] = (), *, cursor: str | None = None, limit: int = 50
) -> tuple[list[StoredPipeline], str | None]:
    """Pipelines by project and name, page by page. Raises ``CursorError``."""
    size = page_size(limit)
    newest = (
        select(PIPELINE_VERSIONS.c.digest)
        .where(PIPELINE_VERSIONS.c.pipeline == PIPELINES.c.id)
        .order_by(PIPELINE_VERSIONS.c.created_at.desc(), PIPELINE_VERSIONS.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    versions = select(func.count()).where(PIPELINE_VERSIONS.c.pipeline == PIPELINES.c.id).scalar_subquery()
    statement = (
        select(PIPELINES, newest.label("digest"), versions.label("versions"))
        .order_by(PIPELINES.c.project, PIPELINES.c.name)
        .limit(size + 1)
    )
    if projects:
        statement = statement.where(PIPELINES.c.project.in_(projects))
    if cursor is not None:
        after = read_cursor("pipelines", cursor, str, str)
        statement = statement.where(tuple_(PIPELINES.c.project, PIPELINES.c.name) > tuple_(*after))
    rows = session.execute(statement).mappings().all()
    found = [_pipeline(row) for row in rows[:size]]
    more = make_cursor("pipelines", found[-1].project, found[-1].name) if len(rows) > size else None
    return found, more


def _pipeline(row: RowMapping) -> StoredPipeline:
    return StoredPipeline(
        project=row["project"],
        name=row["name"],
        digest=row["digest"],
        versions=row["versions"],
        created_at=row["created_at"],
    )


def remember_version(session: Session, version: BackendVersion) -> None:
    """Remember that a backend holds a spec, and under which ids; the newest upload counts."""
    row = {name: getattr(version, name) for name in BackendVersion.__slots__}
    upsert(session, BACKEND_VERSIONS, [row], key=("backend", "namespace", "digest"))


def find_version(session: Session, backend: str, namespace: str, digest: str) -> BackendVersion | None:
    """Where the backend keeps the spec, if it was uploaded."""
    statement = select(BACKEND_VERSIONS).where(*_version(backend, namespace, digest))
    row = session.execute(statement).mappings().first()
    if row is None:
        return None
    return BackendVersion(**{name: row[name] for name in BackendVersion.__slots__})


def forget_version(session: Session, backend: str, namespace: str, digest: str) -> None:
    """Forget an upload that the backend no longer has."""
    session.execute(delete(BACKEND_VERSIONS).where(*_version(backend, namespace, digest)))


def _version(backend: str, namespace: str, digest: str) -> tuple[Any, ...]:
    columns = BACKEND_VERSIONS.c
    return (columns.backend == backend, columns.namespace == namespace, columns.digest == digest)
