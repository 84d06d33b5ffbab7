"""Signing in at an OpenID Connect issuer: the Authorization Code flow with PKCE."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from bridge.lineage.sessions import SignIn
from bridge.service.access.attempts import Attempt
from bridge.service.access.issuer import Issuer, IssuerUnavailable
from bridge.service.access.keys import KeysUnavailable
from bridge.service.access.login_errors import LoginError
from bridge.service.access.oidc import KIND, Oidc, WrongTime, WrongToken
from bridge.service.access.places import CALLBACK, Site

log = logging.getLogger(__name__)

_MOST_TOLD_CHARACTERS = 300
_AGAIN = "Sign in again."
_AWAY = "Wait a moment and sign in again. An API token of the bridge works meanwhile."


@dataclass(frozen=True, slots=True)
class Answer:
    """What the issuer sent the browser back with; empty is what it did not."""

    code: str = ""
    error: str = ""
    description: str = ""
    issuer: str = ""


class OidcLogin:
    """The bridge as a client of an issuer."""

    def __init__(self, issuer: Issuer, oidc: Oidc, clock: Callable[[], float] = time.time) -> None:
        self._issuer, self._oidc, self._clock = issuer, oidc, clock
        self._client_id = issuer.settings.client_id or ""

    async def address(self, attempt: Attempt, site: Site) -> str:
        """Where the issuer asks people who they are. Raises ``LoginError``."""
        try:
            endpoint = (await self._issuer.provider()).authorization_endpoint
        except IssuerUnavailable as error:
            raise self._away(error) from error
        if endpoint is None:
            raise self._away("its configuration names no authorization_endpoint")
        return _with(
            endpoint,
            response_type="code",
            client_id=self._client_id,
            redirect_uri=site.base + CALLBACK,
            scope=" ".join(self._issuer.settings.scopes),
            state=attempt.state,
            nonce=attempt.nonce,
            code_challenge=attempt.challenge,
            code_challenge_method="S256",
        )

    async def finish(self, attempt: Attempt, answer: Answer, site: Site) -> SignIn:
        """Who has signed in, by what the issuer sent back. Raises ``LoginError``."""
        try:
            return await self._finish(attempt, answer, site)
        except (IssuerUnavailable, KeysUnavailable) as error:
            raise self._away(error) from error

    async def end_address(self, site: Site, back: str) -> str | None:
        """Where the issuer's own session is ended, if it has such a place and can be asked now."""
        try:
            endpoint = (await self._issuer.provider()).end_session_endpoint
        except IssuerUnavailable as error:
            log.warning("the issuer's session is not ended", extra={"error": str(error)})
            return None
        if endpoint is None:
            return None
        # No ID token was kept to hint with: the issuer may ask the person whether they mean it.
        return _with(endpoint, client_id=self._client_id, post_logout_redirect_uri=site.base + back)

    async def _finish(self, attempt: Attempt, answer: Answer, site: Site) -> SignIn:
        provider = await self._issuer.provider()
        if answer.issuer != self._issuer.settings.issuer and (answer.issuer or provider.names_itself):
            raise self._not_genuine(f"the answer is of the issuer {answer.issuer or 'that it does not name'}")
        if answer.error or not answer.code:
            raise self._refused(answer)
        if provider.token_endpoint is None:
            raise IssuerUnavailable("its configuration names no token_endpoint")
        form = {
            "grant_type": "authorization_code",
            "code": answer.code,
            "redirect_uri": site.base + CALLBACK,
            "code_verifier": attempt.verifier,
        }
        status, told = await self._issuer.post_form(
            provider.token_endpoint, form, secret_in_body=provider.secret_in_body
        )
        if status != httpx.codes.OK:
            raise self._no_token(told, site)
        token = told.get("id_token")
        if not isinstance(token, str):
            raise self._not_genuine("it gave no ID token, although openid was asked for")
        return self._signed_in(attempt, await self._claims(token, attempt))

    async def _claims(self, token: str, attempt: Attempt) -> Mapping[str, Any]:
        try:
            claims = await self._oidc.claims_of(token, self._client_id)
        except WrongTime as error:
            raise self._wrong_clock(error) from error
        except WrongToken as error:
            raise self._not_genuine(str(error)) from error
        nonce, party = claims.get("nonce"), claims.get("azp", self._client_id)
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), attempt.nonce.encode()):
            raise self._not_genuine("its ID token answers another sign-in (nonce)")
        if party != self._client_id:
            raise self._not_genuine(f"its ID token was made for {party} (azp)")
        return claims

    def _signed_in(self, attempt: Attempt, claims: Mapping[str, Any]) -> SignIn:
        settings = self._issuer.settings
        name = self._oidc.name_in(claims)
        if name is None:
            raise LoginError(
                403,
                "Your account has no name",
                f"{settings.shown_name} knows you, but says nothing usable in {settings.name_claim}.",
                "Tell who runs the bridge: the setting oidc.name_claim has to name a claim of the ID token.",
            )
        pairs = self._oidc.granting(claims)
        if not pairs:
            raise self._no_role(name, claims)
        return SignIn(
            kind=KIND, name=name, issuer=settings.issuer, claims=pairs, attempt_sha256=attempt.digest
        )

    def _no_role(self, name: str, claims: Mapping[str, Any]) -> LoginError:
        values = self._oidc.values_of(claims)
        looked = "; ".join(f"{claim}: {value}" for claim, value in values.items())
        where = f" Your account has {looked}." if looked else " The bridge gives roles to nobody."
        log.warning("somebody without a role wanted to sign in", extra={"caller": name, "claims": looked})
        return LoginError(
            403,
            "You have no role here",
            f"You are {name} at {self._issuer.settings.shown_name}, but nothing there gives you a role in "
            f"any project of this bridge.{where}",
            "Ask who runs the bridge for a role (oidc.grants), or who runs the accounts for the group that "
            "has one; then sign in again.",
        )

    def _away(self, error: object) -> LoginError:
        shown = self._issuer.settings.shown_name
        log.error("nobody can sign in at the issuer", extra={"error": str(error)})
        return LoginError(
            503,
            f"{shown} does not answer",
            f"The bridge cannot ask {shown} now: {str(error)[:_MOST_TOLD_CHARACTERS]}.",
            _AWAY,
        )

    def _refused(self, answer: Answer) -> LoginError:
        shown = self._issuer.settings.shown_name
        told = _said(answer.error, answer.description)
        log.warning("the issuer let nobody in", extra={"error": told})
        detail = f"{shown} sent you back without letting you in: {told}."
        if answer.error == "access_denied":
            return LoginError(
                403,
                "You were not let in",
                detail,
                f"{_AGAIN} If you said yes, your account may not use the bridge: ask who runs {shown}.",
            )
        if answer.error in ("server_error", "temporarily_unavailable"):
            return LoginError(503, f"{shown} is in trouble", detail, _AWAY)
        to_do = {
            "invalid_scope": "Tell who runs the bridge: oidc.scopes names one that the issuer does not give.",
            "unauthorized_client": "Tell who runs the bridge: the client at the issuer has to allow the "
            "authorization code flow.",
        }
        return LoginError(502, "You were not let in", detail, to_do.get(answer.error, _AGAIN))

    def _no_token(self, told: Mapping[str, Any], site: Site) -> LoginError:
        error = str(told.get("error", ""))
        description = str(told.get("error_description", ""))
        said = _said(error, description)
        log.warning("the issuer gave no token", extra={"error": said})
        detail = (
            f"{self._issuer.settings.shown_name} gave the bridge no token: {said or 'it did not say why'}."
        )
        if error == "invalid_grant":
            return LoginError(
                400,
                "This sign-in does not count any more",
                detail,
                f"It was used before, or is too old. {_AGAIN} If that never works, who runs the bridge has "
                f"to register {site.base + CALLBACK} at the issuer, exactly so.",
            )
        if error in ("invalid_client", "unauthorized_client"):
            to_do = "Tell who runs the bridge: oidc.client_id and client_secret are not those of the issuer."
            return LoginError(502, "The issuer does not know the bridge", detail, to_do)
        to_do = f"Tell who runs the bridge: the issuer has to know the redirect URI {site.base + CALLBACK}."
        return LoginError(502, "The issuer gave no token", detail, to_do)

    def _wrong_clock(self, error: WrongTime) -> LoginError:
        now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self._clock()))
        shown = self._issuer.settings.shown_name
        log.error("the clocks of issuer and bridge differ", extra={"error": str(error)})
        return LoginError(
            502,
            "The clocks do not agree",
            f"The token that {shown} has just made does not count at the bridge's time, {now} UTC: {error}.",
            "Tell who runs the bridge: set both clocks by NTP. oidc.leeway_seconds "
            f"({self._issuer.settings.leeway_seconds:g}) says how far they may be apart.",
        )

    def _not_genuine(self, why: str) -> LoginError:
        log.warning("a sign-in was refused", extra={"error": why})
        shown = self._issuer.settings.shown_name
        detail = f"What came from {shown} cannot be trusted: {why[:_MOST_TOLD_CHARACTERS]}."
        to_do = f"{_AGAIN} If it happens again, tell who runs the bridge what stands here."
        return LoginError(502, "The answer is not genuine", detail, to_do)


def _with(endpoint: str, **parameters: str) -> str:
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(parameters)}"


def _said(error: str, description: str) -> str:
    told = " ".join(part for part in (error, description) if part)
    return told[:_MOST_TOLD_CHARACTERS] or "it did not say why"
