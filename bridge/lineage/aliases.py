"""Aliases of pipeline versions: ``prod`` is whichever version it was moved to last. Each move is audited."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, Select, delete, select
from sqlmodel import Session

from bridge.lineage import audit
from bridge.lineage.bulk import upsert
from bridge.lineage.database import now
from bridge.lineage.errors import NotStored
from bridge.lineage.records import StoredAlias
from bridge.lineage.tables import PIPELINE_ALIASES, PIPELINE_VERSIONS, PIPELINES


def set_alias(
    session: Session, project: str, pipeline: str, alias: str, digest: str, *, actor: str = ""
) -> tuple[StoredAlias, str | None]:
    """Make the alias mean the version with this digest; the alias and the digest it meant before.

    Setting it to what it is changes nothing. Raises ``NotStored`` if the pipeline has no such version.
    """
    key = _lock(session, project, pipeline)
    version = (PIPELINE_VERSIONS.c.pipeline == key, PIPELINE_VERSIONS.c.digest == digest)
    if key is None or session.scalars(select(PIPELINE_VERSIONS.c.id).where(*version)).first() is None:
        raise NotStored(f"project {project} has no pipeline {pipeline} with digest {digest}")
    before = find_alias(session, project, pipeline, alias)
    if before is not None and before.digest == digest:
        return before, digest
    row = {
        "project": project,
        "pipeline": key,
        "alias": alias,
        "digest": digest,
        "changed_at": now(session),
    }
    upsert(session, PIPELINE_ALIASES, [row], key=("pipeline", "alias"))
    previous = None if before is None else before.digest
    moved = {"pipeline": pipeline, "alias": alias, "from": previous, "to": digest}
    _audit(session, moved, actor, project)
    after = find_alias(session, project, pipeline, alias)
    assert after is not None
    return after, previous


def _lock(session: Session, project: str, pipeline: str) -> int | None:
    """The pipeline's key; until the transaction ends nobody else moves any of its aliases."""
    where = (PIPELINES.c.project == project, PIPELINES.c.name == pipeline)
    return session.scalars(select(PIPELINES.c.id).where(*where).with_for_update()).first()


def find_alias(session: Session, project: str, pipeline: str, alias: str) -> StoredAlias | None:
    """The alias as it stands."""
    statement = _aliases(project, pipeline).where(PIPELINE_ALIASES.c.alias == alias)
    row = session.execute(statement).mappings().first()
    return None if row is None else _alias(row)


def list_aliases(session: Session, project: str, pipeline: str) -> list[StoredAlias]:
    """All aliases of a pipeline by name; empty for a pipeline nobody knows."""
    statement = _aliases(project, pipeline).order_by(PIPELINE_ALIASES.c.alias)
    return [_alias(row) for row in session.execute(statement).mappings()]


def remove_alias(session: Session, project: str, pipeline: str, alias: str, *, actor: str = "") -> bool:
    """Take the alias away; whether it was there."""
    key = _lock(session, project, pipeline)
    before = find_alias(session, project, pipeline, alias)
    if before is None:
        return False
    session.execute(
        delete(PIPELINE_ALIASES).where(PIPELINE_ALIASES.c.pipeline == key, PIPELINE_ALIASES.c.alias == alias)
    )
    removed = {"pipeline": pipeline, "alias": alias, "from": before.digest, "to": None}
    _audit(session, removed, actor, project)
    return True


def _audit(session: Session, moved: dict[str, Any], actor: str, project: str) -> None:
    before, after = {"digest": moved["from"]}, {"digest": moved["to"]}
    audit.record(
        session, "pipeline.alias", actor=actor, data=moved, before=before, after=after, project=project
    )


def _aliases(project: str, pipeline: str) -> Select[Any]:
    versions = (PIPELINE_VERSIONS.c.pipeline == PIPELINE_ALIASES.c.pipeline) & (
        PIPELINE_VERSIONS.c.digest == PIPELINE_ALIASES.c.digest
    )
    return (
        select(
            PIPELINE_ALIASES.c.project,
            PIPELINES.c.name,
            PIPELINE_ALIASES.c.alias,
            PIPELINE_ALIASES.c.digest,
            PIPELINE_ALIASES.c.changed_at,
            PIPELINE_VERSIONS.c.version_name,
        )
        .join(PIPELINES, PIPELINES.c.id == PIPELINE_ALIASES.c.pipeline)
        .join(PIPELINE_VERSIONS, versions)
        .where(PIPELINES.c.project == project, PIPELINES.c.name == pipeline)
    )


def _alias(row: RowMapping) -> StoredAlias:
    return StoredAlias(
        project=row["project"],
        pipeline=row["name"],
        alias=row["alias"],
        digest=row["digest"],
        version_name=row["version_name"],
        changed_at=row["changed_at"],
    )
