"""Who may ask the bridge: API tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from bridge.lineage.columns import JsonText
from bridge.lineage.tables.base import Row, optional_text, optional_time, surrogate, text_column, time_column


class ApiTokenRow(Row, table=True):
    """A token by its public id; of the secret only the SHA-256 is kept.

    Until ``previous_until`` the secret from before the last rotation is taken, too.
    """

    __tablename__ = "api_tokens"
    __table_args__ = (UniqueConstraint("token_id"),)

    id: int | None = surrogate()
    token_id: str = text_column()
    secret_sha256: str = text_column()
    previous_sha256: str | None = optional_text()
    previous_until: datetime | None = optional_time()
    name: str = text_column()
    role: str = text_column()
    projects: Any = Field(default_factory=list, sa_type=JsonText)
    created_at: datetime = time_column()
    expires_at: datetime | None = optional_time()
    last_used_at: datetime | None = optional_time()
    revoked_at: datetime | None = optional_time()
