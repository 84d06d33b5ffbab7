"""Who somebody is, by the token that came with the request."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Protocol

from bridge.domain.access import EVERY, Principal, Role, grants_of
from bridge.domain.tokens import PREFIX
from bridge.service.access.caller import NOBODY
from bridge.service.access.reviews import TokenReviews
from bridge.service.access.tokens import DatabaseTokens
from bridge.service.problems import ProblemError
from bridge.service.settings import ServiceSettings
from bridge.service.store import Store

_CONFIGURED = Principal(name="api_token", kind="setting", grants=grants_of(Role.ADMIN, [EVERY]))
_LONGEST_TOKEN = 16 * 1024


class Verifier(Protocol):
    """Somebody else who can tell whose token it is."""

    async def principal_of(self, given: str) -> Principal | None:
        """Whose it is; ``None`` if it is none of theirs, or no longer. Raises ``ProblemError`` if that cannot
        be found out now."""


class Authenticator:
    """Tells a service process's callers apart."""

    def __init__(self, settings: ServiceSettings, store: Store, verifiers: Sequence[Verifier] = ()) -> None:
        self._required = settings.asks_who()
        self._configured = settings.api_token.get_secret_value().encode() if settings.api_token else None
        self._tokens = DatabaseTokens(store, settings.token_keep_seconds)
        self._verifiers = tuple(verifiers)

    @property
    def required(self) -> bool:
        """Whether callers have to say who they are."""
        return self._required

    async def principal_of(self, given: str) -> Principal:
        """Whose token that is. Raises ``ProblemError`` for anybody unknown, where they are asked."""
        if not self._required:
            return NOBODY
        found = await self._find(given)
        if found is None:
            told = "send a token that this bridge takes, with the scheme Bearer in the header Authorization"
            raise ProblemError("unauthorized", told)
        return found

    async def _find(self, given: str) -> Principal | None:
        if not given or len(given) > _LONGEST_TOKEN:
            return None
        if self._configured is not None and secrets.compare_digest(given.encode(), self._configured):
            return _CONFIGURED
        if given.startswith(PREFIX):
            return await self._tokens.principal_of(given)
        for verifier in self._verifiers:
            if (found := await verifier.principal_of(given)) is not None:
                return found
        return None


def make_authenticator(settings: ServiceSettings, store: Store) -> Authenticator:
    """The authenticator that the settings describe."""
    verifiers: list[Verifier] = []
    if settings.oidc is not None:
        # Not before somebody wants it: the library for signatures takes 10 MB.
        from bridge.service.access.oidc import Oidc

        verifiers.append(Oidc(settings.oidc))
    if settings.token_review is not None:
        verifiers.append(TokenReviews(settings.token_review))
    return Authenticator(settings, store, verifiers)
