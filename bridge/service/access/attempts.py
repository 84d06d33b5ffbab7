"""One way to the issuer and back: what is handed along, and how it is known again.

Nothing is kept meanwhile. The browser has a secret in a cookie; of that and of a number drawn for each
attempt follow ``state``, ``nonce`` and the PKCE verifier, so that any replica can go on, several tabs can
sign in at once, and nobody can have a browser finish what another one began.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from bridge.service.access.places import return_path

ATTEMPT_SECONDS = 600.0
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST_STATE_CHARACTERS = 4096


class WrongState(Exception):
    """What came back does not belong to an attempt of this browser; the text says why."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a browser: its number, when it began (seconds since 1970), where it leads back to."""

    secret: str
    number: str
    began: int
    return_to: str

    @property
    def state(self) -> str:
        """What the issuer gives back as it is."""
        told = _text(json.dumps([self.number, self.began, self.return_to]).encode())
        return f"{told}.{self._derived(f'state {told}')}"

    @property
    def nonce(self) -> str:
        """What the ID token has to hold."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """What shows the issuer that who brings the code is who began."""
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        """What the issuer is told of it at the beginning."""
        return _text(sha256(self.verifier.encode()).digest())

    @property
    def digest(self) -> str:
        """What stands for the attempt in the database."""
        return sha256(f"{self.secret} {self.number}".encode()).hexdigest()

    def _derived(self, purpose: str) -> str:
        return _text(hmac.digest(self.secret.encode(), f"{purpose} {self.number}".encode(), "sha256"))


def begin(cookie: str | None, return_to: str, now: float) -> Attempt:
    """A new attempt of the browser that has this cookie, or none yet."""
    secret = cookie if cookie and _SECRET.fullmatch(cookie) else secrets.token_urlsafe(32)
    return Attempt(secret, secrets.token_urlsafe(16), int(now), return_to)


def resume(cookie: str | None, state: str, now: float) -> Attempt:
    """The attempt that a state belongs to. Raises ``WrongState``."""
    if not cookie or not _SECRET.fullmatch(cookie):
        raise WrongState("this browser has not begun to sign in here, or has not kept the cookie of it")
    if len(state) > _MOST_STATE_CHARACTERS or not state.isascii():
        raise WrongState("what came back was not begun by this browser")
    told, _, _ = state.partition(".")
    try:
        number, began, return_to = json.loads(urlsafe_b64decode(told + "=" * (-len(told) % 4)))
        # Whoever has the cookie can seal anything.
        attempt = Attempt(cookie, str(number), int(began), return_path(str(return_to)))
        is_sealed = hmac.compare_digest(attempt.state, state)
        age = now - attempt.began
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise WrongState("what came back was not begun by this browser") from error
    if not is_sealed:
        raise WrongState("what came back was not begun by this browser")
    if not 0 <= age <= ATTEMPT_SECONDS:
        raise WrongState(f"it was begun more than {ATTEMPT_SECONDS / 60:.0f} minutes ago")
    return attempt


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
