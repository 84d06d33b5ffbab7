"""An OpenID Connect issuer without sockets: its keys, its configuration, the tokens that it signs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
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

    async def resolve(self, host: str, port: int) -> list[str]:
        """Its address, for whom it must be resolved; others go on meanwhile."""
        await asyncio.sleep(0)
        return ["192.168.7.7"]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if self.away:
            return _json({}, 503)
        if path == "/realm/.well-known/openid-configuration":
            return _json({"issuer": self.says_issuer, "jwks_uri": f"{ISSUER}/keys"})
        assert path == "/realm/keys", path
        whole = [public_jwk(name, key) for name, key in self.keys.items()]
        return _json({"keys": [*self.broken_keys, *whole]})


def _json(told: Any, status: int = 200) -> httpx.Response:
    """An answer whose body is still to be read, as one from a socket."""

    async def body() -> AsyncIterator[bytes]:
        yield json.dumps(told).encode()

    return httpx.Response(status, content=body())


def public_jwk(key_id: str, key: Any) -> dict[str, Any]:
    """A key as an issuer publishes it."""
    public = key.public_key()
    rsa_key = isinstance(key, rsa.RSAPrivateKey)
    text = RSAAlgorithm.to_jwk(public) if rsa_key else ECAlgorithm.to_jwk(public)
    told: dict[str, Any] = json.loads(text)
    return {**told, "kid": key_id, "use": "sig", "alg": "RS256" if rsa_key else "ES256"}
