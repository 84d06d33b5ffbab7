"""An OpenID Connect issuer as it describes itself, asked through the one guard for outgoing requests."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx

from bridge.service.access.settings import OidcSettings, encrypted
from bridge.service.outgoing import AddressRefused, Answer, Outgoing, Resolve, resolve

log = logging.getLogger(__name__)

# An issuer that is away is not asked for each of those who want to sign in.
LEAST_PAUSE_SECONDS = 10.0
_MOST_BYTES = 1024 * 1024
_READ_AS_IT_IS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class IssuerUnavailable(Exception):
    """The issuer cannot be asked, or what it answers makes no sense; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What the issuer says of itself. ``secret_in_body``: it does not take a client's secret in a header.
    ``names_itself``: its answers through the browser say whose they are (RFC 9207)."""

    jwks_uri: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    end_session_endpoint: str | None = None
    secret_in_body: bool = False
    names_itself: bool = False


class Issuer:
    """One issuer. Its description is kept ``keys_seconds``, and asked for at most once in 10 seconds; while
    it cannot be had, the one known from before goes on to count."""

    def __init__(
        self,
        settings: OidcSettings,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        resolve: Resolve = resolve,
    ) -> None:
        self.settings = settings
        self._transport, self._clock, self._resolve = transport, clock, resolve
        self._provider: Provider | None = None
        self._fetched = self._tried = float("-inf")
        self._error = ""
        self._lock = asyncio.Lock()

    async def provider(self) -> Provider:
        """What the issuer says of itself. Raises ``IssuerUnavailable``."""
        # Who has something from before does not wait for what others are asking.
        if self._is_due() and not (self._provider and self._lock.locked()):
            async with self._lock:
                if self._is_due():
                    await self._discover()
        if self._provider is None:
            raise IssuerUnavailable(self._error)
        return self._provider

    def _is_due(self) -> bool:
        now = self._clock()
        old = now - self._fetched >= self.settings.keys_seconds
        return old and now - self._tried >= LEAST_PAUSE_SECONDS

    async def _discover(self) -> None:
        url = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            self._provider = _provider_of(await self.get_object(url), self.settings.issuer)
        except (IssuerUnavailable, ValueError) as error:
            self._error = str(error)
            log.error("the issuer's configuration cannot be had", extra={"error": self._error})
        else:
            self._fetched = self._clock()
        # Not before: those who come meanwhile wait for this answer. One who leaves has not tried.
        self._tried = self._clock()

    async def get_object(self, url: str) -> dict[str, Any]:
        """The JSON object at an address of the issuer. Raises ``IssuerUnavailable``."""
        answer = await self._ask(url, None, _READ_AS_IT_IS)
        if answer.status != httpx.codes.OK:
            raise IssuerUnavailable(f"{url} answered {answer.status}")
        return _object(url, answer)

    async def post_form(
        self, url: str, form: Mapping[str, str], *, secret_in_body: bool
    ) -> tuple[int, dict[str, Any]]:
        """The status and the JSON object that a form is answered with, sent as the client of the settings.
        Raises ``IssuerUnavailable``."""
        settings = self.settings
        client_id = settings.client_id or ""
        secret = settings.client_secret.get_secret_value() if settings.client_secret else None
        headers = {**_READ_AS_IT_IS, "Content-Type": "application/x-www-form-urlencoded"}
        body = {**form, "client_id": client_id}
        if secret is not None and secret_in_body:
            body["client_secret"] = secret
        elif secret is not None:
            # RFC 6749, 2.3.1: each is encoded as in a form first.
            pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        answer = await self._ask(url, urlencode(body).encode(), headers)
        if answer.status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise IssuerUnavailable(f"{url} answered {answer.status}")
        return answer.status, _object(url, answer)

    async def _ask(self, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        settings = self.settings
        verify = self._trusted()
        try:
            # It was named by the settings, and many an issuer is on a private address; never on one where a
            # cloud hands out credentials.
            async with Outgoing(
                timeout_seconds=settings.timeout_seconds,
                private=True,
                transport=self._transport,
                resolve=self._resolve,
                most_bytes=_MOST_BYTES,
                verify=verify,
            ) as outgoing:
                if body is None:
                    return await outgoing.get(url, headers)
                return await outgoing.post(url, body, headers)
        except TimeoutError as error:
            raise IssuerUnavailable(f"{url} did not answer in {settings.timeout_seconds:g} s") from error
        except (AddressRefused, httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise IssuerUnavailable(f"{url}: {type(error).__name__}: {error}") from error

    def _trusted(self) -> ssl.SSLContext | bool:
        """The authorities to trust; read each time, as the file may be put right or renewed."""
        ca_file = self.settings.ca_file
        if ca_file is None:
            return True
        try:
            return ssl.create_default_context(cafile=str(ca_file))
        except (OSError, ValueError) as error:
            told = f"oidc.ca_file {ca_file} cannot be used: {type(error).__name__}: {error}"
            raise IssuerUnavailable(told) from error


def _object(url: str, answer: Answer) -> dict[str, Any]:
    try:
        told = json.loads(answer.text)
    except (ValueError, RecursionError) as error:
        raise IssuerUnavailable(f"{url} answered {answer.status} with what is no JSON") from error
    if not isinstance(told, dict):
        raise IssuerUnavailable(f"{url} did not answer with an object")
    return told


def _provider_of(told: Mapping[str, Any], issuer: str) -> Provider:
    if told.get("issuer") != issuer:
        raise ValueError(f"the configuration is that of the issuer {told.get('issuer')}")
    methods = told.get("token_endpoint_auth_methods_supported")
    listed = methods if isinstance(methods, list) else []
    keys = _address(told, "jwks_uri")
    if keys is None:
        raise ValueError("the issuer's configuration names no jwks_uri")
    return Provider(
        jwks_uri=keys,
        authorization_endpoint=_address(told, "authorization_endpoint"),
        token_endpoint=_address(told, "token_endpoint"),
        end_session_endpoint=_address(told, "end_session_endpoint"),
        secret_in_body="client_secret_post" in listed and "client_secret_basic" not in listed,
        names_itself=told.get("authorization_response_iss_parameter_supported") is True,
    )


def _address(told: Mapping[str, Any], name: str) -> str | None:
    """An address that the configuration names: what holds for those in the settings holds for it."""
    url = told.get(name)
    return encrypted(url) if isinstance(url, str) else None
