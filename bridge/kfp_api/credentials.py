"""A bearer token that an OAuth 2.0 server gives for a client's id and secret (RFC 6749, 4.4)."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from urllib.parse import quote

import httpx

from bridge.kfp_api.auth import GivenToken, TokenSource, checked_token
from bridge.kfp_api.errors import KfpAuthError, KfpUnreachable

_MOST_BYTES = 256 * 1024
# A token is renewed while it is still good, and one that says nothing of its end after this time.
_EARLY_PART = 0.2
_UNSAID_SECONDS = 300.0
_MOST_TOLD = 200


class ClientCredentials:
    """Asks ``token_url`` for a token when there is none or it will soon be over.

    ``secret`` may be a file that somebody rotates. Errors: ``KfpAuthError`` if the server refuses,
    ``KfpUnreachable`` (nothing was sent to KFP) if it does not answer.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        secret: TokenSource,
        *,
        scope: str | None = None,
        audience: str | None = None,
        timeout_seconds: float = 10.0,
        ca: str | ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._client_id, self._secret = token_url, client_id, secret
        asked = {"grant_type": "client_credentials", "scope": scope, "audience": audience}
        self._form = {name: value for name, value in asked.items() if value is not None}
        self._timeout_seconds, self._ca, self._transport = timeout_seconds, ca, transport
        self._given = GivenToken(self._ask, clock)

    async def current(self) -> str:
        """A token that is good now."""
        return await self._given.current()

    async def renewed(self, refused: str | None) -> bool:
        """Ask for another token, since ``refused`` was; whether there is one that was not refused."""
        return await self._given.renewed(refused)

    def __repr__(self) -> str:
        return f"ClientCredentials({self._url!r}, {self._client_id!r})"

    async def _ask(self) -> tuple[str, float]:
        # The standard has both parts encoded as in a form before they are joined.
        auth = httpx.BasicAuth(quote(self._client_id, safe=""), quote(self._secret.token(), safe=""))
        trusted = ssl.create_default_context(cafile=self._ca) if isinstance(self._ca, str) else self._ca
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                httpx.AsyncClient(
                    timeout=self._timeout_seconds,
                    transport=self._transport,
                    verify=True if trusted is None else trusted,
                ) as client,
                client.stream("POST", self._url, data=self._form, auth=auth) as answer,
            ):
                body = b""
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise KfpAuthError(f"{self._url} answered with more than {_MOST_BYTES} bytes")
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            told = f"{self._url} gives no token: {type(error).__name__}: {error}"
            # Nothing was sent to KFP yet.
            raise KfpUnreachable(told, sent=False) from error
        return self._take(httpx.Response(answer.status_code, content=body))

    def _take(self, answer: httpx.Response) -> tuple[str, float]:
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            told = {}
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise KfpUnreachable(f"{self._url} answered {answer.status_code}", sent=False)
        token = told.get("access_token")
        if answer.status_code != httpx.codes.OK or not isinstance(token, str):
            why = str(told.get("error_description") or told.get("error") or "no access_token")[:_MOST_TOLD]
            raise KfpAuthError(f"{self._url} answered {answer.status_code}: {why}")
        if str(told.get("token_type", "bearer")).lower() != "bearer":
            raise KfpAuthError(f"{self._url} gives a token that is no bearer token")
        lasts = told.get("expires_in")
        seconds = _UNSAID_SECONDS
        if isinstance(lasts, (int, float)) and lasts > 0:
            seconds = lasts * (1 - _EARLY_PART)
        return checked_token(token, f"the token of {self._url}"), seconds
