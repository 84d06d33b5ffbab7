"""The keys that an issuer signs with: fetched when needed, kept, and never asked for in a hurry."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from bridge.service.access.issuer import Issuer, IssuerUnavailable

log = logging.getLogger(__name__)

# A token with a key that nobody knows must not make a request each.
_LEAST_PAUSE_SECONDS = 10.0
_MOST_KEYS = 100


class KeysUnavailable(Exception):
    """The issuer's keys cannot be had, and none are known from before."""


class IssuerKeys:
    """One issuer's keys by their id.

    They are fetched again when they are ``keys_seconds`` old or when a token names one that is not among
    them, at most once in 10 seconds. If that fails those known from before go on to count.
    """

    def __init__(self, issuer: Issuer, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer, self._settings, self._clock = issuer, issuer.settings, clock
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._lock = asyncio.Lock()

    async def key(self, key_id: str | None) -> jwt.PyJWK | None:
        """The key of that id, or the only one for a token that names none. Raises ``KeysUnavailable``."""
        # Whose key is known does not wait for what others are asking.
        if self._is_due(key_id) and not (self._known(key_id) and self._lock.locked()):
            async with self._lock:
                if self._is_due(key_id):
                    await self._fetch()
        if self._fetched is None:
            raise KeysUnavailable("the issuer's keys were never had")
        return self._known(key_id)

    def _known(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _is_due(self, key_id: str | None) -> bool:
        now = self._clock()
        if self._tried is not None and now - self._tried < _LEAST_PAUSE_SECONDS:
            return False
        if self._fetched is None or now - self._fetched >= self._settings.keys_seconds:
            return True
        return key_id is not None and key_id not in self._keys

    async def _fetch(self) -> None:
        try:
            url = self._settings.jwks_url or (await self._issuer.provider()).jwks_uri
            found = _keys_of(await self._issuer.get_object(url))
        except (IssuerUnavailable, ValueError, RecursionError) as error:
            log.error(
                "the issuer's keys cannot be fetched", extra={"error": f"{type(error).__name__}: {error}"}
            )
        else:
            self._keys, self._fetched = found, self._clock()
        # Not before: those who come meanwhile wait for this answer. One who leaves has not tried.
        self._tried = self._clock()


def _keys_of(told: Mapping[str, Any]) -> dict[str | None, jwt.PyJWK]:
    listed = told.get("keys")
    if not isinstance(listed, list):
        raise ValueError("the answer holds no keys")
    found: dict[str | None, jwt.PyJWK] = {}
    for one in listed[:_MOST_KEYS]:
        # A shared secret is no public key; what is for encryption signs nothing.
        if not isinstance(one, dict) or one.get("kty") == "oct" or one.get("use", "sig") != "sig":
            continue
        if not all(isinstance(one.get(name, ""), str) for name in ("kid", "alg")):
            log.warning("a key of the issuer cannot be used", extra={"error": "its kid or alg is no text"})
            continue
        try:
            found[one.get("kid")] = jwt.PyJWK.from_dict(one)
        except jwt.PyJWTError as error:
            log.warning("a key of the issuer cannot be used", extra={"error": str(error)})
    return found
