"""Who may ask the bridge: API tokens, and the sessions of people who signed in with a browser."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint
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


class SessionRow(Row, table=True):
    """A browser's session; of the secret in its cookie only the SHA-256 is kept.

    ``attempt_sha256`` stands for the sign-in at the issuer that made it: none makes two. ``claims`` are the
    pairs of claim and value that gave roles then; ``token_id`` and ``credential_sha256`` tell the API token
    that it was made with, and counts no longer than; of the token of the settings it is a scrypt digest.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("secret_sha256"),
        UniqueConstraint("attempt_sha256"),
        Index("ix_sessions_expires_at", "expires_at"),
    )

    id: int | None = surrogate()
    secret_sha256: str = text_column()
    attempt_sha256: str | None = optional_text()
    kind: str = text_column()
    name: str = text_column()
    issuer: str | None = optional_text()
    claims: Any = Field(default_factory=list, sa_type=JsonText)
    token_id: str | None = optional_text()
    credential_sha256: str | None = optional_text()
    created_at: datetime = time_column()
    expires_at: datetime = time_column()
    ended_at: datetime | None = optional_time()
