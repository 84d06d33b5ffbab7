"""Where browsers find the service: its address, the cookies of it, and where people go back to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response

CALLBACK = "/login/callback"
"""Where the issuer sends people back to."""
DONE = "/login/done"
"""The page of a window that was opened to sign in again."""
_MOST_RETURN_CHARACTERS = 1500
_SESSION = re.compile(rb"(?:__Host-)?kfbridge-session-[0-9a-f]{8}=[^;]*")
_OWN_SITES = ("same-origin", "none")


@dataclass(frozen=True, slots=True)
class Site:
    """The address that a browser knows the service under: ``https://host``, and the path before all paths of
    the service, such as ``/kfbridge``, or nothing."""

    origin: str
    prefix: str

    @property
    def base(self) -> str:
        """What all its addresses begin with."""
        return self.origin + self.prefix

    @property
    def is_secure(self) -> bool:
        """Whether nobody on the way can read or set its cookies."""
        return self.origin.startswith("https:")

    def cookie(self, purpose: str) -> str:
        """The name of a cookie. Cookies of a host are those of all its ports and paths, so that two bridges
        there need names of their own. With ``__Host-`` no neighbouring host can set it."""
        own = sha256(self.base.encode()).hexdigest()[:8]
        return f"{'__Host-' if self.is_secure else ''}kfbridge-{purpose}-{own}"

    def set_cookie(self, answer: Response, purpose: str, value: str, seconds: float) -> None:
        """Give the browser a cookie that scripts cannot read and that other sites' pages do not send."""
        answer.set_cookie(
            self.cookie(purpose),
            value,
            max_age=int(seconds),
            path="/",
            secure=self.is_secure,
            httponly=True,
            samesite="lax",
        )

    def drop_cookie(self, answer: Response, purpose: str) -> None:
        """Take a cookie back."""
        self.set_cookie(answer, purpose, "", 0)


def site_of(public_url: str | None, asked: HTTPConnection) -> Site:
    """The service as this request's browser knows it: by the setting, or else by the request."""
    parts = urlsplit(public_url or str(asked.base_url))
    return Site(f"{parts.scheme}://{parts.netloc}", prefix_of(public_url))


def prefix_of(public_url: str | None) -> str:
    """The path that a proxy serves the service under; empty at the root of a host."""
    return urlsplit(public_url or "").path.rstrip("/")


def session_cookies(header: bytes) -> bytes:
    """What of the header ``Cookie`` can be a session here. Any other cookie of the host is its neighbours',
    who may change theirs with each answer."""
    return b"; ".join(_SESSION.findall(header))


def return_path(asked: str | None) -> str:
    """Where to go after the sign-in: a path of the service itself, as it was asked for; else its first page.

    A backslash and what browsers leave out would make another site of a path.
    """
    text = asked or "/"
    plain = text.isascii() and text.isprintable() and not set(text) & set(' \\"<>')
    if not plain or len(text) > _MOST_RETURN_CHARACTERS or not text.startswith("/") or text.startswith("//"):
        return "/"
    path = urlsplit(text).path
    if path == DONE:
        return DONE
    # Nobody is sent round in a circle.
    return "/" if path == "/login" or path.startswith(("/login/", "//")) else text


def is_foreign_read(headers: Mapping[str, str]) -> bool:
    """Whether a browser asks on behalf of another site's page, which would use its reader's cookie; going
    there, by a link, is no such thing."""
    site = headers.get("sec-fetch-site", "none")
    return site not in _OWN_SITES and headers.get("sec-fetch-mode") != "navigate"


def is_foreign_form(headers: Mapping[str, str], site: Site) -> bool:
    """Whether a form was sent by another site's page, as far as an older browser tells."""
    origin = headers.get("origin")
    return origin is not None and "sec-fetch-site" not in headers and origin != site.origin
