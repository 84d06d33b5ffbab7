"""Callers who come with a token of an OpenID Connect issuer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import jwt

from bridge.domain.access import Principal
from bridge.service.access.issuer import Issuer
from bridge.service.access.keys import IssuerKeys, KeysUnavailable
from bridge.service.problems import ProblemError

log = logging.getLogger(__name__)

KIND = "oidc"
_NEEDED = ["exp", "iss", "aud", "sub"]
_LONGEST_NAME = 200
_RETRY_SECONDS = 10.0
_SHOWN_ITEMS = 20
_SHOWN_CHARACTERS = 80


class WrongToken(Exception):
    """A token that is not the issuer's, or not for whom it was shown to; the text says why."""


class WrongTime(WrongToken):
    """A genuine token that is over, or does not count yet."""


class Oidc:
    """Checks signature, algorithm, issuer, audience and times of a token, and gives roles by its claims."""

    def __init__(self, issuer: Issuer, keys: IssuerKeys | None = None) -> None:
        self._settings = issuer.settings
        self._keys = keys or IssuerKeys(issuer)

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
        if key is None:
            return None
        try:
            claims = self._claims(given, key, self._settings.audience)
        except WrongToken as error:
            log.info("a token of the issuer was refused", extra={"error": str(error)})
            return None
        return self._principal(claims)

    async def claims_of(self, given: str, audience: str) -> Mapping[str, Any]:
        """What a genuine token of the issuer for that audience says. Raises ``WrongToken`` and
        ``KeysUnavailable``."""
        header = self._header(given)
        if header is None:
            told = ", ".join(self._settings.algorithms)
            raise WrongToken(f"it is no token of {self._settings.issuer} that is signed with {told}")
        key = await self._keys.key(header.get("kid"))
        if key is None:
            raise WrongToken(f"the issuer publishes no key {header.get('kid')}")
        return self._claims(given, key, audience)

    def name_in(self, claims: Mapping[str, Any]) -> str | None:
        """The name of whose token says this; ``None`` if that is no usable one."""
        name = _at(claims, self._settings.name_claim)
        usable = isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable()
        return name if isinstance(name, str) and usable else None

    def granting(self, claims: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The pairs of claim and value that give roles, as far as a token has them."""
        return tuple(
            dict.fromkeys(
                (one.claim, one.value)
                for one in self._settings.grants
                if _has(_at(claims, one.claim), one.value)
            )
        )

    def values_of(self, claims: Mapping[str, Any]) -> dict[str, str]:
        """What a token has in the claims that could give roles, for people to read."""
        names = dict.fromkeys(one.claim for one in self._settings.grants)
        return {name: _shown(_at(claims, name)) for name in names}

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

    def _claims(self, given: str, key: jwt.PyJWK, audience: str) -> Mapping[str, Any]:
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                given,
                key,
                algorithms=list(settings.algorithms),
                audience=audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": _NEEDED},
            )
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
            raise WrongTime(str(error)) from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            # A key of another kind than the algorithm's is refused by the library in its own ways.
            raise WrongToken(str(error)) from error
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal | None:
        name = self.name_in(claims)
        if name is None:
            log.info("a token has no usable name", extra={"claim": self._settings.name_claim})
            return None
        return Principal(name=name, kind=KIND, grants=self._settings.roles_of(self.granting(claims)))


def _shown(claim: Any) -> str:
    if claim is None:
        return "not there"
    listed = claim if isinstance(claim, list) else [claim]
    told = ", ".join(str(one)[:_SHOWN_CHARACTERS] for one in listed[:_SHOWN_ITEMS]) or "empty"
    return f"{told} …" if len(listed) > _SHOWN_ITEMS else told


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
