"""What a webhook wants to be told of, and how a message is signed; pure.

Signatures follow the Standard Webhooks specification (https://www.standardwebhooks.com), so that its
libraries verify them: ``v1,`` and the base64 of HMAC-SHA256 over ``<id>.<timestamp>.<body>``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from hashlib import sha256

EVENT_TYPES = (
    "run.created",
    "run.found",
    "run.changed",
    "run.ended",
    "run.settled",
    "run.mirrored",
    "run.rejected",
    "run.lost",
    "run.revived",
    "backend.paused",
    "backend.resumed",
    "backend.drained",
)
SECRET_PREFIX = "whsec_"  # noqa: S105
TOLERANCE_SECONDS = 300


class BadSignature(ValueError):
    """A message that nobody with the secret has signed, or that is too old; the text says which."""


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a wanted type: one of ``EVENT_TYPES``, or its beginning with ``*`` (``run.*``)."""
    if pattern.endswith("*"):
        beginning = pattern[:-1]
        if any(known.startswith(beginning) for known in EVENT_TYPES):
            return None
    elif pattern in EVENT_TYPES:
        return None
    near = get_close_matches(pattern, EVENT_TYPES, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(EVENT_TYPES)}"
    return f"no event has the type {pattern}{hint}"


def wants(patterns: Collection[str], event_type: str) -> bool:
    """Whether an event of this type is wanted; no patterns at all want everything."""
    if not patterns:
        return True
    return any(
        event_type.startswith(pattern[:-1]) if pattern.endswith("*") else event_type == pattern
        for pattern in patterns
    )


def make_secret(random_bytes: bytes) -> str:
    """The text form of a secret, ``whsec_…``."""
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


def secret_problem(secret: str) -> str | None:
    """What is wrong with a secret that a caller brings: ``whsec_`` and base64 of 24 to 64 bytes."""
    try:
        length = len(_key(secret))
    except ValueError:
        return f"a secret is {SECRET_PREFIX} followed by base64"
    return None if 24 <= length <= 64 else f"a secret has 24 to 64 bytes; this one has {length}"


def sign(secrets: Iterable[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``: one signature for each secret, the newest first."""
    return " ".join(f"v1,{_signature(secret, message_id, timestamp, body)}" for secret in secrets)


def verify(
    secrets: Iterable[str],
    message_id: str,
    timestamp: str,
    signatures: str,
    body: bytes,
    *,
    now_seconds: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> None:
    """Raise ``BadSignature`` unless one of the secrets signed the message not longer ago than the tolerance.

    An old timestamp is refused because whoever overheard a message could send it again.
    """
    if not timestamp.isascii() or not timestamp.isdigit():
        raise BadSignature(f"webhook-timestamp {timestamp!r} is no number of seconds")
    age = now_seconds - int(timestamp)
    if abs(age) > tolerance_seconds:
        raise BadSignature(
            f"the message was signed {age:.0f} s ago; at most {tolerance_seconds:g} are let in"
        )
    given = [part.partition(",")[2] for part in signatures.split() if part.startswith("v1,")]
    for secret in secrets:
        expected = _signature(secret, message_id, int(timestamp), body).encode()
        if any(hmac.compare_digest(expected, one.encode()) for one in given):
            return
    raise BadSignature("none of the signatures was made with a secret that is known here")


def _signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(_key(secret), signed, sha256).digest()).decode()


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("a webhook's secret is base64") from error
