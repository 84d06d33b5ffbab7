"""Sessions of people with a browser, looked up cheaply: what was found counts for some seconds."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import scrypt

from bridge.domain.access import EVERY, Principal, Role, grants_of
from bridge.domain.tokens import secret_digest
from bridge.lineage import sessions
from bridge.lineage.sessions import SignIn, StoredSession
from bridge.service.access.cache import Recent
from bridge.service.access.settings import OidcSettings
from bridge.service.access.tokens import KIND as TOKEN
from bridge.service.access.tokens import DatabaseTokens, shown_token
from bridge.service.grouping import Grouped
from bridge.service.settings import ServiceSettings
from bridge.service.store import Store

SETTING = "setting"
OIDC = "oidc"
CONFIGURED = Principal(name="api_token", kind=SETTING, grants=grants_of(Role.ADMIN, [EVERY]))
"""Who has the token of the settings."""
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST_KEPT = 4096
_MOST_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody with a session: who, until when, and the digest that the session is known by."""

    principal: Principal
    expires_at: datetime
    digest: str


class Sessions:
    """The sessions in the database.

    An end counts at once in this process, and ``token_keep_seconds`` later at the latest in the others. What
    somebody may do follows from the settings and the API token of now, not from those of the sign-in.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        store: Store,
        tokens: DatabaseTokens,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._tokens = store, tokens
        self._oidc: OidcSettings | None = settings.oidc
        token = settings.api_token
        self._typed = secret_digest(token.get_secret_value()) if token else None
        self._stored = _slow_digest(token.get_secret_value()) if token else None
        self._lifetime = timedelta(seconds=settings.session_seconds)
        self._known: Recent[str, StoredSession | None] = Recent(
            settings.token_keep_seconds, _MOST_KEPT, clock
        )
        self._find = Grouped(self._find_together, most=_MOST_TOGETHER)

    async def signed_in(self, secret: str) -> SignedIn | None:
        """Whose session the secret of a cookie is; ``None`` if it is none that counts now. Raises
        ``DatabaseUnavailable``."""
        if not _SECRET.fullmatch(secret):
            return None
        digest = secret_digest(secret)
        known = self._known.get(digest)
        stored = known[0] if known else await self._find(digest)
        if known is None:
            self._known.keep(digest, stored)
        if stored is None or not stored.in_force:
            return None
        principal = await self._principal(stored.signed_in)
        if principal is None:
            # What it was made with is not asked for again with each of the browser's requests.
            self._known.keep(digest, None)
            return None
        return SignedIn(principal, stored.expires_at, digest)

    async def start(self, signed_in: SignIn) -> str | None:
        """A new session; the secret for its cookie, or ``None`` if the attempt has made one before.
        Audited."""
        started = await self._store.transact(lambda s: sessions.start_session(s, signed_in, self._lifetime))
        return None if started is None else started[1]

    async def end(self, found: SignedIn) -> None:
        """End a session. Audited."""
        name = found.principal.name
        await self._store.transact(
            lambda s: sessions.end_session(s, found.digest, actor=name), repeatable=True
        )
        self._known.keep(found.digest, None)

    async def by_token(self, given: str) -> SignIn | None:
        """What somebody signs in with who shows an API token; ``None`` if it is none that counts."""
        digest = secret_digest(given)
        if self._typed is not None and secrets.compare_digest(digest, self._typed):
            return SignIn(kind=SETTING, name=CONFIGURED.name, credential_sha256=self._stored)
        found = shown_token(given)
        if found is None:
            return None
        token_id, credential = found
        principal = await self._tokens.principal_by(token_id, credential)
        if principal is None:
            return None
        return SignIn(kind=TOKEN, name=principal.name, token_id=token_id, credential_sha256=credential)

    async def _principal(self, signed_in: SignIn) -> Principal | None:
        """Who that is now: a token may have been revoked since, and settings changed."""
        credential = signed_in.credential_sha256 or ""
        if signed_in.kind == TOKEN:
            return await self._tokens.principal_by(signed_in.token_id or "", credential)
        if signed_in.kind == SETTING:
            same = self._stored is not None and secrets.compare_digest(credential, self._stored)
            return CONFIGURED if same else None
        if self._oidc is None or signed_in.kind != OIDC or signed_in.issuer != self._oidc.issuer:
            return None
        return Principal(name=signed_in.name, kind=OIDC, grants=self._oidc.roles_of(signed_in.claims))

    async def _find_together(self, digests: Sequence[str]) -> list[StoredSession | None]:
        found = await self._store.read(lambda s: sessions.find_sessions(s, digests))
        return [found.get(digest) for digest in digests]


def _slow_digest(chosen: str) -> str:
    """What is stored of the token of the settings. People choose it: whoever read a plain digest in a copy of
    the database could try out words. Takes 50 ms and 16 MB."""
    return scrypt(chosen.encode(), salt=b"kfbridge api_token", n=2**14, r=8, p=1).hex()
