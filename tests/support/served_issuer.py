"""An OpenID Connect issuer on a loopback port, as strict as a real one: it registers addresses, takes a code
once, checks the client's secret and the PKCE verifier. What it gives can be bent, as an attacker would."""

from __future__ import annotations

import json
import secrets
import threading
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from tests.support.fake_issuer import FakeIssuer, public_jwk

CLIENT = "kfbridge-dashboard"
CLIENT_SECRET = "client secret with : and +"


@dataclass
class ServedIssuer:
    """What it knows, what it does, and what it was asked. ``asks``: it shows a page to sign in on."""

    url: str
    signs: FakeIssuer = field(default_factory=FakeIssuer)
    secret: str | None = CLIENT_SECRET
    returns: set[str] = field(default_factory=set)
    claims: dict[str, Any] = field(default_factory=lambda: {"groups": ["ml"]})
    description: dict[str, Any] = field(default_factory=dict)
    asks: bool = False
    away: bool = False
    refuses: dict[str, str] = field(default_factory=dict)
    bend: Callable[[str, Mapping[str, Any]], str] | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    used: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        """Its configuration."""
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize?realm=work",
            "token_endpoint": f"{self.url}/token",
            "end_session_endpoint": f"{self.url}/logout",
            "authorization_response_iss_parameter_supported": True,
            **self.description,
        }

    def token(self, nonce: str | None, **claims: Any) -> str:
        """An ID token, with what ``claims`` change."""
        told = {"iss": self.url, "aud": CLIENT, "nonce": nonce, **self.claims, **claims}
        return self.signs.token(**told)

    def authorize(self, asked: Mapping[str, str]) -> tuple[int, dict[str, str], str]:
        """Status, headers and page for a browser that was sent here."""
        back = asked.get("redirect_uri", "")
        if asked.get("client_id") != CLIENT or back not in self.returns:
            return 400, {}, f"<h1>Invalid parameter: redirect_uri</h1><p>{escape(back)}</p>"
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        if self.refuses:
            return 302, _to(back, state=asked["state"], iss=self.url, **self.refuses), ""
        if self.asks and "as" not in asked:
            onwards = escape(f"/authorize?{urlencode({**asked, 'as': 'ada'})}")
            return 200, {}, f'<h1>Fake issuer</h1><a href="{onwards}">Continue as ada</a>'
        code = secrets.token_urlsafe(16)
        self.codes[code] = dict(asked)
        return 302, _to(back, state=asked["state"], code=code, iss=self.url), ""

    def redeem(self, form: Mapping[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Status and answer of the token endpoint."""
        client, given = form.get("client_id"), form.get("client_secret")
        if authorization.startswith("Basic "):
            client, _, given = b64decode(authorization[6:]).decode().partition(":")
            client, given = unquote_plus(client), unquote_plus(given)
        if client != CLIENT or given != self.secret:
            return 401, {"error": "invalid_client", "error_description": "Invalid client credentials"}
        asked = self.codes.pop(form["code"], None)
        if asked is None:
            return 400, {"error": "invalid_grant", "error_description": "Code not valid"}
        self.used[form["code"]] = asked
        challenge = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant", "error_description": "PKCE verification failed"}
        token = self.token(asked["nonce"]) if self.bend is None else self.bend(asked["nonce"], asked)
        return 200, {"token_type": "Bearer", "access_token": secrets.token_urlsafe(16), "id_token": token}


def _to(back: str, **told: str) -> dict[str, str]:
    return {"Location": f"{back}?{urlencode(told)}"}


class _Handler(BaseHTTPRequestHandler):
    issuer: ServedIssuer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query))
        self.issuer.asked.append(parts.path)
        if self.issuer.away:
            self._answer(503, {}, "")
        elif parts.path == "/.well-known/openid-configuration":
            self._json(200, self.issuer.described())
        elif parts.path == "/keys":
            keys = self.issuer.signs.keys.items()
            self._json(200, {"keys": [public_jwk(name, key) for name, key in keys]})
        elif parts.path == "/authorize":
            self._answer(*self.issuer.authorize(asked))
        elif parts.path == "/logout" and asked.get("client_id") == CLIENT:
            self._answer(302, {"Location": asked["post_logout_redirect_uri"]}, "")
        else:
            self._answer(404, {}, "")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.issuer.asked.append(self.path)
        if self.issuer.away:
            self._answer(503, {}, "")
            return
        self._json(*self.issuer.redeem(dict(parse_qsl(raw)), self.headers.get("Authorization", "")))

    def _json(self, status: int, told: Mapping[str, Any]) -> None:
        self._answer(status, {"Content-Type": "application/json"}, json.dumps(told))

    def _answer(self, status: int, headers: Mapping[str, str], text: str) -> None:
        raw = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", "Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """What it was asked stands in ``asked``."""


@contextmanager
def served_issuer() -> Iterator[ServedIssuer]:
    """An issuer on a free port, until the end of the block."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    issuer = ServedIssuer(f"http://127.0.0.1:{server.server_address[1]}")
    handler.issuer = issuer  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
