"""Why runs failed or wait, as ranked: stored by run, replaced as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, delete, insert, select
from sqlmodel import Session

from bridge.domain.causes import Cause, CauseKind, Evidence, Witness
from bridge.domain.redaction import redact_text
from bridge.lineage.bulk import in_pieces
from bridge.lineage.columns import clean_text
from bridge.lineage.errors import NotStored
from bridge.lineage.tables import RUNS, TASK_CAUSES


def store_causes(
    session: Session, run_id: UUID, causes: Sequence[Cause], *, waiting: bool, now: datetime
) -> bool:
    """Make these the causes of a run, in this order; whether that changed anything.

    ``waiting`` ones are what it waits for while it goes on; those that say why it failed replace them.
    The moment a cause was first seen is kept while it stays. Raises ``NotStored``.
    """
    place = session.execute(
        select(RUNS.c.id, RUNS.c.backend, RUNS.c.project).where(RUNS.c.run_id == run_id)
    ).first()
    if place is None:
        raise NotStored(f"there is no run {run_id}")
    rows = session.execute(select(TASK_CAUSES).where(TASK_CAUSES.c.run == place.id)).mappings().all()
    before = {(row["task_path"], row["kind"]): row for row in rows if row["waiting"] is waiting}
    after = [_row(cause, position, waiting) for position, cause in enumerate(causes)]
    if len(before) == len(after) == len(rows) and all(_is_known(row, before) for row in after):
        return False
    session.execute(delete(TASK_CAUSES).where(TASK_CAUSES.c.run == place.id))
    for row in after:
        known = before.get((row["task_path"], row["kind"]))
        first_seen = known["first_seen_at"] if known else now
        row |= {"backend": place.backend, "project": place.project, "run": place.id}
        session.execute(insert(TASK_CAUSES).values(**row, first_seen_at=first_seen, seen_at=now))
    return bool(rows or after)


def causes_of(session: Session, run_id: UUID) -> list[Cause]:
    """The causes stored of a run, the likeliest first."""
    return causes_by_run(session, [run_id]).get(run_id, [])


def causes_by_run(session: Session, run_ids: Collection[UUID]) -> dict[UUID, list[Cause]]:
    """The causes stored of several runs, the likeliest first; runs without any are left out."""
    found: dict[UUID, list[Cause]] = {}
    for piece in in_pieces(run_ids):
        statement = (
            select(RUNS.c.run_id, *(column for column in TASK_CAUSES.c if column.name != "id"))
            .join_from(TASK_CAUSES, RUNS, TASK_CAUSES.c.run == RUNS.c.id)
            .where(RUNS.c.run_id.in_(piece))
            .order_by(TASK_CAUSES.c.run, TASK_CAUSES.c.position)
        )
        for row in session.execute(statement).mappings():
            found.setdefault(row["run_id"], []).append(_cause(row))
    return found


def _is_known(row: Mapping[str, Any], before: Mapping[tuple[str, str], RowMapping]) -> bool:
    known = before.get((row["task_path"], row["kind"]))
    return known is not None and (known["message"], known["position"]) == (row["message"], row["position"])


def _row(cause: Cause, position: int, waiting: bool) -> dict[str, Any]:
    return {
        "task_path": clean_text(cause.task or ""),
        "kind": cause.kind.value,
        "message": redact_text(clean_text(cause.message)),
        "weight": cause.weight,
        "position": position,
        "waiting": waiting,
        "evidence": [_evidence_to_json(one) for one in cause.evidence],
    }


def _cause(row: RowMapping) -> Cause:
    return Cause(
        kind=CauseKind(row["kind"]),
        message=row["message"],
        task=row["task_path"] or None,
        weight=row["weight"],
        waiting=row["waiting"],
        evidence=tuple(_evidence_from_json(one) for one in row["evidence"]),
    )


def _evidence_to_json(one: Evidence) -> dict[str, Any]:
    texts = {name: getattr(one, name) for name in ("message", "reason", "task", "pod", "container", "step")}
    return {
        **{name: None if text is None else redact_text(clean_text(text)) for name, text in texts.items()},
        "witness": one.witness.value,
        "exit_code": one.exit_code,
        "at": one.at.isoformat() if one.at else None,
    }


def _evidence_from_json(record: Mapping[str, Any]) -> Evidence:
    at = record.get("at")
    return Evidence(
        **{**record, "witness": Witness(record["witness"]), "at": datetime.fromisoformat(at) if at else None}
    )
