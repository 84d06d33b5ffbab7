"""With which settings the processes were started, the newest of each role; secrets are never among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from bridge.lineage.bulk import upsert
from bridge.lineage.database import now
from bridge.lineage.tables import SETTINGS_IN_USE


@dataclass(frozen=True, slots=True)
class SettingsInUse:
    """The settings of the process of that role which was started last; ``role`` is what runs in it."""

    role: str
    holder: str
    started_at: datetime
    content: Mapping[str, Any]


def note_settings(session: Session, role: str, holder: str, content: Mapping[str, Any]) -> None:
    """A process begins to work with these."""
    row = {"role": role, "holder": holder, "started_at": now(session), "content": dict(content)}
    upsert(session, SETTINGS_IN_USE, [row], key=("role",))


def settings_in_use(session: Session) -> list[SettingsInUse]:
    """Those of the newest process of each role."""
    rows = session.execute(select(SETTINGS_IN_USE).order_by(SETTINGS_IN_USE.c.role)).mappings()
    return [SettingsInUse(row["role"], row["holder"], row["started_at"], row["content"]) for row in rows]
