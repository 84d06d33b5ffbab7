"""Tokens of the database, looked up cheaply: what was found counts for some seconds."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence

from bridge.domain.access import Principal, grants_of
from bridge.domain.tokens import read_token, secret_digest
from bridge.lineage import tokens
from bridge.lineage.errors import DatabaseUnavailable
from bridge.lineage.tokens import StoredToken
from bridge.service.access.cache import Recent
from bridge.service.grouping import Grouped
from bridge.service.store import Store

log = logging.getLogger(__name__)

KIND = "token"
_MOST_KEPT = 4096
_MOST_TOGETHER = 256


class DatabaseTokens:
    """The tokens that ``kfbridge token`` keeps.

    A change, a revocation too, counts ``keep_seconds`` after it was made at the latest. Requests that ask
    at the same time share one look.
    """

    def __init__(
        self, store: Store, keep_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._known: Recent[str, StoredToken | None] = Recent(keep_seconds, _MOST_KEPT, clock)
        self._find = Grouped(self._find_together, most=_MOST_TOGETHER)

    async def principal_of(self, given: str) -> Principal | None:
        """Whose token that is; ``None`` if it is none that counts now. Raises ``DatabaseUnavailable``."""
        parts = shown_token(given)
        return await self.principal_by(*parts) if parts is not None else None

    async def principal_by(self, token_id: str, digest: str) -> Principal | None:
        """The same by the token's id and the digest of its secret."""
        known = self._known.get(token_id)
        stored = known[0] if known else await self._find(token_id)
        if known is not None and stored is not None and not _is_of(stored, digest):
            # It may have been rotated since, and who has the new secret must not have to wait.
            known, stored = None, await self._find(token_id)
        if known is None:
            self._known.keep(token_id, stored)
        if stored is None or not stored.in_force or not _is_of(stored, digest):
            return None
        if known is None and stored.use_is_old:
            await self._note_use(token_id)
        return Principal(
            name=f"token:{stored.name}",
            kind=KIND,
            grants=grants_of(stored.role, stored.projects),
            token_id=token_id,
        )

    async def _find_together(self, token_ids: Sequence[str]) -> list[StoredToken | None]:
        found = await self._store.read(lambda s: tokens.find_tokens(s, token_ids))
        return [found.get(token_id) for token_id in token_ids]

    async def _note_use(self, token_id: str) -> None:
        try:
            await self._store.transact(lambda s: tokens.note_use(s, token_id), repeatable=True)
        except DatabaseUnavailable as error:
            # What can be read is answered, also while nothing can be written.
            log.warning("a token's use was not noted", extra={"token_id": token_id, "error": str(error)})


def shown_token(given: str) -> tuple[str, str] | None:
    """The id and the digest of the secret of what has the shape of a token; ``None`` for anything else."""
    parts = read_token(given)
    return None if parts is None else (parts[0], secret_digest(parts[1]))


def _is_of(stored: StoredToken, digest: str) -> bool:
    return any(secrets.compare_digest(digest, one) for one in stored.digests)
