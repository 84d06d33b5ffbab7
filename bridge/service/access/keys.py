"""The keys that an issuer signs with: fetched when needed, kept, and never asked for in a hurry."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt

from bridge.service.access.settings import OidcSettings

log = logging.getLogger(__name__)

# A token with a key that nobody knows must not make a request each.
_LEAST_PAUSE_SECONDS = 10.0
_MOST_BYTES = 1024 * 1024
_MOST_KEYS = 100


class KeysUnavailable(Exception):
    """The issuer's keys cannot be had, and none are known from before."""


class IssuerKeys:
    """One issuer's keys by their id.

    They are fetched again when they are ``keys_seconds`` old or when a token names one that is not among
    them, at most once in 10 seconds. If that fails those known from before go on to count.
    """

    def __init__(
        self,
        settings: OidcSettings,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._transport, self._clock = settings, transport, clock
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._lock = asyncio.Lock()

    async def key(self, key_id: str | None) -> jwt.PyJWK | None:
        """The key of that id, or the only one for a token that names none. Raises ``KeysUnavailable``."""
        if self._is_due(key_id):
            async with self._lock:
                if self._is_due(key_id):
                    await self._fetch()
        if self._fetched is None:
            raise KeysUnavailable("the issuer's keys were never had")
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
        self._tried = self._clock()
        try:
            async with self._client() as client:
                url = self._settings.jwks_url or await self._discovered(client)
                found = _keys_of(await _json(client, url))
        except (httpx.HTTPError, OSError, ValueError, RecursionError) as error:
            log.error(
                "the issuer's keys cannot be fetched", extra={"error": f"{type(error).__name__}: {error}"}
            )
            return
        self._keys, self._fetched = found, self._clock()

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        issuer = self._settings.issuer
        told = await _json(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if told.get("issuer") != issuer:
            raise ValueError(f"the configuration is that of the issuer {told.get('issuer')}")
        url = told.get("jwks_uri")
        if not isinstance(url, str):
            raise ValueError("the issuer's configuration names no jwks_uri")
        # What holds for the address in the settings holds for this one.
        OidcSettings.model_validate({"issuer": issuer, "audience": self._settings.audience, "jwks_url": url})
        return url

    def _client(self) -> httpx.AsyncClient:
        settings = self._settings
        verify = ssl.create_default_context(cafile=str(settings.ca_file)) if settings.ca_file else True
        return httpx.AsyncClient(
            transport=self._transport, timeout=settings.timeout_seconds, verify=verify, trust_env=False
        )


async def _json(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    size, pieces = 0, []
    async with client.stream("GET", url, headers={"Accept": "application/json"}) as answer:
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"{url} answered {answer.status_code}")
        async for piece in answer.aiter_bytes():
            size += len(piece)
            if size > _MOST_BYTES:
                raise ValueError(f"{url} answered with more than {_MOST_BYTES} bytes")
            pieces.append(piece)
    told = httpx.Response(200, content=b"".join(pieces)).json()
    if not isinstance(told, dict):
        raise ValueError(f"{url} did not answer with an object")
    return told


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
