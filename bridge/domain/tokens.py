"""What an API token looks like: ``kfb_<id>_<secret>``. The id is public; of the secret a digest is kept."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import sha256

PREFIX = "kfb_"
ID_BYTES = 8
SECRET_BYTES = 32
_SHAPE = re.compile(r"kfb_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


def token_text(token_id: str, secret: str) -> str:
    """The whole token, as a caller sends it."""
    return f"{PREFIX}{token_id}_{secret}"


def secret_text(random: bytes) -> str:
    """A secret of ``SECRET_BYTES`` random bytes as text."""
    return urlsafe_b64encode(random).rstrip(b"=").decode()


def read_token(text: str) -> tuple[str, str] | None:
    """The id and the secret of a token; ``None`` for anything else."""
    match = _SHAPE.fullmatch(text)
    return (match[1], match[2]) if match else None


def secret_digest(secret: str) -> str:
    """What is kept of a secret. It is random in 256 bits, so a plain SHA-256 cannot be guessed backwards."""
    return sha256(secret.encode()).hexdigest()
