"""Sessions of people who signed in with a browser: whose they are, by what, and until when. Neither their
secrets nor any token is stored."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, Select, delete, select, update
from sqlmodel import Session

from bridge.domain.tokens import SECRET_BYTES, secret_digest, secret_text
from bridge.lineage import audit
from bridge.lineage.bulk import changed_rows, insert_new
from bridge.lineage.columns import database_time
from bridge.lineage.database import now
from bridge.lineage.tables import SESSIONS

# How long a session that is over is remembered, so that its cookie can be told from a made-up one.
REMEMBERED_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """What somebody signed in with. ``kind`` and ``name`` are those of the principal; ``claims`` the pairs of
    claim and value that gave roles, with the ``issuer`` who said so; ``token_id`` an API token and
    ``credential_sha256`` the digest of the secret that was shown; of the settings' token, which somebody
    chose, a scrypt digest. ``attempt_sha256``: the sign-in at the issuer, which makes one session at most."""

    kind: str
    name: str
    issuer: str | None = None
    claims: tuple[tuple[str, str], ...] = ()
    token_id: str | None = None
    credential_sha256: str | None = None
    attempt_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session. ``in_force``: neither ended nor over."""

    number: int
    signed_in: SignIn
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    in_force: bool


def start_session(
    session: Session, signed_in: SignIn, lifetime: timedelta
) -> tuple[StoredSession, str] | None:
    """A new session, and the secret for its cookie, which nobody can be told again; ``None`` if the attempt
    has made one before. Audited. Removes sessions that are long over."""
    moment = now(session)
    session.execute(
        delete(SESSIONS).where(SESSIONS.c.expires_at < moment - timedelta(seconds=REMEMBERED_SECONDS))
    )
    secret = secret_text(secrets.token_bytes(SECRET_BYTES))
    digest = secret_digest(secret)
    row = {
        "backend": "",
        "project": "",
        "secret_sha256": digest,
        "attempt_sha256": signed_in.attempt_sha256,
        "kind": signed_in.kind,
        "name": signed_in.name,
        "issuer": signed_in.issuer,
        "claims": [list(pair) for pair in signed_in.claims],
        "token_id": signed_in.token_id,
        "credential_sha256": signed_in.credential_sha256,
        "created_at": moment,
        "expires_at": moment + lifetime,
        "ended_at": None,
    }
    if not insert_new(session, SESSIONS, [row]):
        return None
    stored = find_sessions(session, [digest])[digest]
    _audit(session, "session.start", signed_in.name, stored)
    return stored, secret


def find_sessions(session: Session, digests: Collection[str]) -> dict[str, StoredSession]:
    """The sessions whose secrets have these digests, by digest; those that are over, too."""
    rows = session.execute(_sessions().where(SESSIONS.c.secret_sha256.in_(digests))).mappings()
    return {row["secret_sha256"]: _stored(row) for row in rows}


def list_sessions(session: Session) -> list[StoredSession]:
    """The sessions in force, the newest first."""
    rows = session.execute(_sessions().order_by(SESSIONS.c.id.desc())).mappings()
    return [stored for row in rows if (stored := _stored(row)).in_force]


def end_session(session: Session, digest: str, *, actor: str) -> bool:
    """Take the session of that digest out of force; whether it was in force until now. Audited."""
    return _end(session, [one for one in find_sessions(session, [digest]).values() if one.in_force], actor)


def end_sessions_of(session: Session, name: str, *, actor: str) -> int:
    """Take every session of that name out of force; how many there were. Audited."""
    found = [one for one in list_sessions(session) if one.signed_in.name == name]
    return len(found) if _end(session, found, actor) else 0


def _end(session: Session, found: Sequence[StoredSession], actor: str) -> bool:
    ended = False
    for one in found:
        over = update(SESSIONS).where(SESSIONS.c.id == one.number, SESSIONS.c.ended_at.is_(None))
        if changed_rows(session, over.values(ended_at=database_time())):
            _audit(session, "session.end", actor, one)
            ended = True
    return ended


def _sessions() -> Select[Any]:
    return select(SESSIONS, (SESSIONS.c.expires_at > database_time()).label("not_expired"))


def _stored(row: RowMapping) -> StoredSession:
    return StoredSession(
        number=row["id"],
        signed_in=SignIn(
            kind=row["kind"],
            name=row["name"],
            issuer=row["issuer"],
            claims=tuple((claim, value) for claim, value in row["claims"]),
            token_id=row["token_id"],
            credential_sha256=row["credential_sha256"],
            attempt_sha256=row["attempt_sha256"],
        ),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        ended_at=row["ended_at"],
        in_force=bool(row["not_expired"]) and row["ended_at"] is None,
    )


def _audit(session: Session, action: str, actor: str, stored: StoredSession) -> None:
    told = {"session": stored.number, "name": stored.signed_in.name, "kind": stored.signed_in.kind}
    audit.record(session, action, actor=actor, data=told)
