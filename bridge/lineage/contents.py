"""Whether what the artifacts of a run name is there: which are to be looked at, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlmodel import Session

from bridge.domain.lineage import FILELESS_TYPES, ContentLook, ContentState, Direction
from bridge.lineage.columns import database_time
from bridge.lineage.duties import check_fence
from bridge.lineage.records import Fence
from bridge.lineage.tables import ARTIFACT_USES, ARTIFACTS, RUNS

# What is said of an artifact that its store does not have.
NOTHING = "there is nothing"


def unseen_contents(session: Session, run_id: UUID, limit: int) -> dict[int, str]:
    """The URIs of what the run put out and nobody has seen to be there, by the artifacts' surrogate keys;
    those that were looked at longest ago come first. Files of metrics that were not there are not looked for
    again."""
    statement = (
        select(ARTIFACTS.c.id, ARTIFACTS.c.uri)
        .join(ARTIFACT_USES, ARTIFACT_USES.c.artifact == ARTIFACTS.c.id)
        .join(RUNS, RUNS.c.id == ARTIFACT_USES.c.run)
        .where(
            RUNS.c.run_id == run_id,
            ARTIFACT_USES.c.direction == Direction.OUTPUT.value,
            ARTIFACTS.c.uri.is_not(None),
            or_(ARTIFACTS.c.content.is_(None), ARTIFACTS.c.content != ContentState.AVAILABLE.value),
            or_(
                ARTIFACTS.c.content_checked_at.is_(None),
                ARTIFACTS.c.type.not_in(FILELESS_TYPES),
                ARTIFACTS.c.content_error != NOTHING,
            ),
        )
        .order_by(ARTIFACTS.c.content_checked_at.is_not(None), ARTIFACTS.c.content_checked_at, ARTIFACTS.c.id)
        .limit(limit)
    )
    return {row.id: row.uri for row in session.execute(statement)}


def record_looks(session: Session, run_id: UUID, looks: Mapping[int, ContentLook], *, fence: Fence) -> None:
    """Write what was found. Raises ``FencedOut``."""
    run = session.scalars(select(RUNS.c.id).where(RUNS.c.run_id == run_id)).one()
    check_fence(session, run, run_id, fence)
    for key, look in sorted(looks.items()):
        session.execute(
            update(ARTIFACTS)
            .where(ARTIFACTS.c.id == key)
            .values(content=look.state.value, content_error=look.error, content_checked_at=database_time())
        )
