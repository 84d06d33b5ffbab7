"""Callers who come with a token of an OpenID Connect issuer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import jwt

from bridge.domain.access import Principal, grants_of, merged
from bridge.service.access.keys import IssuerKeys, KeysUnavailable
from bridge.service.access.settings import OidcSettings
from bridge.service.problems import ProblemError

log = logging.getLogger(__name__)

KIND = "oidc"
_NEEDED = ["exp", "iss", "aud", "sub"]
_LONGEST_NAME = 200
_RETRY_SECONDS = 10.0


class Oidc:
    """Checks signature, algorithm, issuer, audience and times of a token, and gives roles by its claims."""

    def __init__(self, settings: OidcSettings, keys: IssuerKeys | None = None) -> None:
        self._settings = settings
        self._keys = keys or IssuerKeys(settings)

    async def principal_of(self, given: str) -> Principal | None:
        """Whose token that is; ``None`` for one of others, one that is over, and one that is not genuine."""
        header = self._header(given)
        if header is None:
            return None
        try:
            key = await self._keys.key(header.get("kid"))
        except KeysUnavailable as error:
            raise ProblemError(
                "identity-unavailable",
                "the issuer that knows whose the token is cannot be asked now",
                retry_after_seconds=_RETRY_SECONDS,
            ) from error
        claims = self._claims(given, key) if key is not None else None
        return self._principal(claims) if claims is not None else None

    def _header(self, given: str) -> Mapping[str, Any] | None:
        """The token's header, if it says that it is of this issuer: only then are keys asked for."""
        if given.count(".") != 2:
            return None
        try:
            header = jwt.get_unverified_header(given)
            told = jwt.decode(given, options={"verify_signature": False})
        except jwt.PyJWTError:
            return None
        ours = told.get("iss") == self._settings.issuer and header.get("alg") in self._settings.algorithms
        return header if ours else None

    def _claims(self, given: str, key: jwt.PyJWK) -> Mapping[str, Any] | None:
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                given,
                key,
                algorithms=list(settings.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": _NEEDED},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            # A key of another kind than the algorithm's is refused by the library in its own ways.
            log.info("a token of the issuer was refused", extra={"error": str(error)})
            return None
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal | None:
        name = _at(claims, self._settings.name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            log.info("a token has no usable name", extra={"claim": self._settings.name_claim})
            return None
        granted = [
            grants_of(one.role, one.projects)
            for one in self._settings.grants
            if _has(_at(claims, one.claim), one.value)
        ]
        return Principal(name=name, kind=KIND, grants=merged(*granted))


def _at(claims: Mapping[str, Any], name: str) -> Any:
    """A claim; where there is none of the whole name, dots lead into objects."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _has(claim: Any, value: str) -> bool:
    return value in claim if isinstance(claim, list) else isinstance(claim, str) and claim == value
