"""Who somebody is, by the token that came with the request."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bridge.domain.access import Principal
from bridge.domain.tokens import PREFIX
from bridge.service.access.caller import NOBODY
from bridge.service.access.reviews import TokenReviews
from bridge.service.access.sessions import CONFIGURED, Sessions, SignedIn
from bridge.service.access.tokens import DatabaseTokens
from bridge.service.problems import ProblemError
from bridge.service.settings import ServiceSettings
from bridge.service.store import Store

if TYPE_CHECKING:
    from bridge.service.access.login import OidcLogin

_LONGEST_TOKEN = 16 * 1024


class Verifier(Protocol):
    """Somebody else who can tell whose token it is."""

    async def principal_of(self, given: str) -> Principal | None:
        """Whose it is; ``None`` if it is none of theirs, or no longer. Raises ``ProblemError`` if that cannot
        be found out now."""


class Authenticator:
    """Tells a service process's callers apart."""

    def __init__(
        self,
        settings: ServiceSettings,
        store: Store,
        verifiers: Sequence[Verifier] = (),
        login: OidcLogin | None = None,
    ) -> None:
        self._required = settings.asks_who()
        self._configured = settings.api_token.get_secret_value().encode() if settings.api_token else None
        self._tokens = DatabaseTokens(store, settings.token_keep_seconds)
        self._verifiers = tuple(verifiers)
        self.login = login
        """How people sign in at an issuer, if they do."""
        self.sessions = Sessions(settings, store, self._tokens)

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

    async def signed_in(self, secret: str) -> SignedIn:
        """Whose session that is. Raises ``ProblemError`` if it is none, or none any more."""
        found = await self.sessions.signed_in(secret)
        if found is None:
            raise ProblemError("unauthorized", "the session has ended: sign in again")
        return found

    async def _find(self, given: str) -> Principal | None:
        if not given or len(given) > _LONGEST_TOKEN:
            return None
        if self._configured is not None and secrets.compare_digest(given.encode(), self._configured):
            return CONFIGURED
        if given.startswith(PREFIX):
            return await self._tokens.principal_of(given)
        for verifier in self._verifiers:
            if (found := await verifier.principal_of(given)) is not None:
                return found
        return None


def make_authenticator(settings: ServiceSettings, store: Store) -> Authenticator:
    """The authenticator that the settings describe."""
    verifiers: list[Verifier] = []
    login: OidcLogin | None = None
    if settings.oidc is not None:
        # Not before somebody wants it: the library for signatures takes 10 MB.
        from bridge.service.access.issuer import Issuer
        from bridge.service.access.login import OidcLogin
        from bridge.service.access.oidc import Oidc

        issuer = Issuer(settings.oidc)
        oidc = Oidc(issuer)
        verifiers.append(oidc)
        login = OidcLogin(issuer, oidc) if settings.oidc.client_id else None
    if settings.token_review is not None:
        verifiers.append(TokenReviews(settings.token_review))
    return Authenticator(settings, store, verifiers, login)
