"""API tokens: whose they are, what they may do, and until when. Secrets are never stored."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, Select, or_, select, update
from sqlmodel import Session

from bridge.domain.access import Role
from bridge.domain.tokens import ID_BYTES, SECRET_BYTES, secret_digest, secret_text, token_text
from bridge.lineage import audit
from bridge.lineage.bulk import changed_rows, insert_timed
from bridge.lineage.columns import database_time
from bridge.lineage.database import now
from bridge.lineage.errors import NotStored
from bridge.lineage.tables import API_TOKENS

# How exactly it is known when a token was used last.
USE_STEP_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """A token; ``projects`` are those it has its role in, ``("*",)`` all.

    ``digests`` are those of the secrets that are taken now: two while a rotation lets both be. ``in_force``:
    neither expired nor revoked. ``use_is_old``: its last use was noted longer ago than ``USE_STEP_SECONDS``.
    """

    token_id: str
    name: str
    role: Role
    projects: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    digests: tuple[str, ...] = ()
    in_force: bool = True
    use_is_old: bool = True


def create_token(
    session: Session,
    *,
    name: str,
    role: Role,
    projects: Collection[str],
    lifetime: timedelta | None = None,
    actor: str = "",
) -> tuple[StoredToken, str]:
    """A new token, and its text, which nobody can be told again. Audited."""
    secret = secret_text(secrets.token_bytes(SECRET_BYTES))
    token_id = secrets.token_hex(ID_BYTES)
    row = {
        "backend": "",
        "project": "",
        "token_id": token_id,
        "secret_sha256": secret_digest(secret),
        "name": name,
        "role": role.value,
        "projects": sorted(set(projects)),
        "expires_at": None if lifetime is None else now(session) + lifetime,
    }
    insert_timed(session, API_TOKENS, "created_at", [row])
    told = {"name": name, "role": role.value, "projects": row["projects"]}
    _audit(session, "token.create", actor, token_id, told)
    return _get(session, token_id), token_text(token_id, secret)


def find_tokens(session: Session, token_ids: Collection[str]) -> dict[str, StoredToken]:
    """The tokens with these ids, by id."""
    rows = session.execute(_tokens().where(API_TOKENS.c.token_id.in_(token_ids))).mappings()
    return {row["token_id"]: _token(row) for row in rows}


def list_tokens(session: Session) -> list[StoredToken]:
    """All tokens, in the order they were made, those out of force too."""
    return [_token(row) for row in session.execute(_tokens().order_by(API_TOKENS.c.id)).mappings()]


def tokens_named(session: Session, wanted: str) -> Sequence[StoredToken]:
    """The tokens in force of that name or id."""
    named = or_(API_TOKENS.c.token_id == wanted, API_TOKENS.c.name == wanted)
    rows = session.execute(_tokens().where(named).order_by(API_TOKENS.c.id)).mappings()
    return [token for row in rows if (token := _token(row)).in_force]


def rotate_token(
    session: Session,
    token_id: str,
    *,
    both_for: timedelta,
    lifetime: timedelta | None = None,
    actor: str = "",
) -> tuple[StoredToken, str]:
    """A new secret under the same id, and the token's new text; for so long the old one is taken, too.

    With ``lifetime`` it expires so long from now, else as before. Raises ``NotStored``. Audited.
    """
    stored = _get(session, token_id)
    if not stored.in_force:
        raise NotStored(f"token {token_id} has expired or is revoked")
    secret = secret_text(secrets.token_bytes(SECRET_BYTES))
    moment = now(session)
    values: dict[str, Any] = {
        "previous_sha256": API_TOKENS.c.secret_sha256,
        "previous_until": moment + both_for,
        "secret_sha256": secret_digest(secret),
    }
    if lifetime is not None:
        values["expires_at"] = moment + lifetime
    session.execute(update(API_TOKENS).where(API_TOKENS.c.token_id == token_id).values(**values))
    _audit(session, "token.rotate", actor, token_id, {"name": stored.name})
    return _get(session, token_id), token_text(token_id, secret)


def revoke_token(session: Session, token_id: str, *, actor: str = "") -> StoredToken:
    """Take a token out of force; again changes nothing. Raises ``NotStored``. Audited."""
    stored = _get(session, token_id)
    revoked = update(API_TOKENS).where(API_TOKENS.c.token_id == token_id, API_TOKENS.c.revoked_at.is_(None))
    if changed_rows(session, revoked.values(revoked_at=database_time())):
        _audit(session, "token.revoke", actor, token_id, {"name": stored.name})
    return _get(session, token_id)


def note_use(session: Session, token_id: str) -> None:
    """Note that a token was used, unless that was noted within ``USE_STEP_SECONDS``."""
    old = or_(
        API_TOKENS.c.last_used_at.is_(None), API_TOKENS.c.last_used_at < database_time(-USE_STEP_SECONDS)
    )
    session.execute(
        update(API_TOKENS).where(API_TOKENS.c.token_id == token_id, old).values(last_used_at=database_time())
    )


def _tokens() -> Select[Any]:
    columns = API_TOKENS.c
    return select(
        API_TOKENS,
        (or_(columns.expires_at.is_(None), columns.expires_at > database_time())).label("not_expired"),
        (columns.previous_until > database_time()).label("takes_both"),
        (or_(columns.last_used_at.is_(None), columns.last_used_at < database_time(-USE_STEP_SECONDS))).label(
            "use_is_old"
        ),
    )


def _token(row: RowMapping) -> StoredToken:
    digests = (row["secret_sha256"], row["previous_sha256"]) if row["takes_both"] else (row["secret_sha256"],)
    return StoredToken(
        token_id=row["token_id"],
        name=row["name"],
        role=Role(row["role"]),
        projects=tuple(row["projects"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
        digests=digests,
        in_force=bool(row["not_expired"]) and row["revoked_at"] is None,
        use_is_old=bool(row["use_is_old"]),
    )


def _get(session: Session, token_id: str) -> StoredToken:
    found = find_tokens(session, [token_id]).get(token_id)
    if found is None:
        raise NotStored(f"there is no token {token_id}")
    return found


def _audit(session: Session, action: str, actor: str, token_id: str, data: dict[str, Any]) -> None:
    audit.record(session, action, actor=actor, data={"token_id": token_id, **data})
