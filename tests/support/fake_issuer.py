"""An OpenID Connect issuer without sockets: its keys, its configuration, the tokens that it signs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://issuer.example/realm"


@dataclass
class FakeIssuer:
    """Signs with ``current``; publishes all keys of ``keys``, after ``broken_keys``. ``away`` makes it
    answer 503."""

    keys: dict[str, Any] = field(default_factory=dict)
    current: str = "k1"
    away: bool = False
    says_issuer: str = ISSUER
    broken_keys: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rotate("k1")

    def rotate(self, key_id: str, *, elliptic: bool = False) -> None:
        """Sign with a new key from now on; the old ones stay published."""
        self.keys[key_id] = (
            ec.generate_private_key(ec.SECP256R1())
            if elliptic
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )
        self.current = key_id

    def token(self, *, key: Any = None, algorithm: str = "RS256", **claims: Any) -> str:
        """A token as the issuer makes it, with what ``claims`` change; what is ``None`` is left out."""
        now = int(time.time())
        told = {
            "iss": ISSUER,
            "aud": "kfbridge",
            "sub": "ada",
            "iat": now,
            "exp": now + 300,
            "groups": ["ml"],
            **claims,
        }
        kept = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(
            kept, key or self.keys[self.current], algorithm=algorithm, headers={"kid": self.current}
        )

    def transport(self) -> httpx.MockTransport:
        """What a client of it sends its requests with."""
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if self.away:
            return httpx.Response(503)
        if path == "/realm/.well-known/openid-configuration":
            return httpx.Response(200, json={"issuer": self.says_issuer, "jwks_uri": f"{ISSUER}/keys"})
        assert path == "/realm/keys", path
        whole = [_public(name, key) for name, key in self.keys.items()]
        return httpx.Response(200, json={"keys": [*self.broken_keys, *whole]})


def _public(key_id: str, key: Any) -> dict[str, Any]:
    public = key.public_key()
    rsa_key = isinstance(key, rsa.RSAPrivateKey)
    text = RSAAlgorithm.to_jwk(public) if rsa_key else ECAlgorithm.to_jwk(public)
    told: dict[str, Any] = json.loads(text)
    return {**told, "kid": key_id, "use": "sig", "alg": "RS256" if rsa_key else "ES256"}
