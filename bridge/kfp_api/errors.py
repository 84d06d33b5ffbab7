"""What can go wrong between the bridge and a KFP server.

    KfpError
    ├── KfpUnreachable     no whole answer came; ``sent`` tells whether the request may have arrived
    │   └── KfpHeldBack    it was not sent: the server is being spared, see ``guard``
    ├── KfpBadAnswer       an answer came that KFP does not give: HTML with 200, cut JSON, foreign frames
    ├── KfpBadUrl          the base URL cannot be one (also a ``ValueError``)
    ├── KfpAuthError       401, 403, a redirect to a login page, a token file that cannot be read
    ├── KfpInvalid         400 and every other 4xx: the server refused what was asked
    ├── KfpNotFound        404
    ├── KfpConflict        409: the thing exists already
    ├── KfpRateLimited     429; ``retry_after_seconds`` if the server said so
    └── KfpServerError     408 and 5xx, also those of proxies in between

``ambiguous`` is the one question a submission has to ask: may the request have taken effect all the
same? It is true for ``KfpUnreachable`` with ``sent``, ``KfpBadAnswer`` and ``KfpServerError``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from bridge.kfp_api import grpcweb

MAX_MESSAGE_CHARS = 4000


class KfpError(Exception):
    """A call to a KFP server failed.

    ``message`` is the server's own where it gave one, at most ``MAX_MESSAGE_CHARS`` long; ``code``
    the gRPC code of its body, ``status`` the HTTP status, ``request`` the method and path asked
    for. ``retryable`` says that the same call may succeed later; whether it may be repeated is
    another question, which ``ambiguous`` answers for calls that change something.
    """

    retryable = False
    ambiguous = False

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        status: int | None = None,
        details: tuple[Any, ...] = (),
        request: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        self.message = bounded_text(message)
        self.code = code
        self.status = status
        self.details = details
        self.request = request
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{request}: {self.message}" if request else self.message)


class KfpUnreachable(KfpError):
    """No whole answer: refused, timed out, reset. ``sent`` is False only if no byte of the request left."""

    retryable = True

    def __init__(self, message: str, *, sent: bool, request: str | None = None) -> None:
        super().__init__(message, request=request)
        self.sent = sent
        self.ambiguous = sent


class KfpHeldBack(KfpUnreachable):
    """Not sent, because the server is being spared; worth another try after ``retry_after_seconds``."""

    def __init__(self, message: str, *, request: str | None, retry_after_seconds: float) -> None:
        super().__init__(message, sent=False, request=request)
        self.retry_after_seconds = retry_after_seconds


class KfpBadAnswer(KfpError):
    """The answer is not KFP's: a page for people, JSON or frames that end too early, wrong types."""

    ambiguous = True

    def __init__(
        self, message: str, *, cut: bool = False, status: int | None = None, request: str | None = None
    ) -> None:
        super().__init__(message, status=status, request=request)
        self.cut = cut
        self.retryable = cut


class KfpBadUrl(KfpError, ValueError):
    """The base URL given for a KFP server cannot be one."""


class KfpAuthError(KfpError):
    """The server does not know the caller (401) or does not let it (403)."""


class KfpInvalid(KfpError):
    """The server refused the request as such."""


class KfpNotFound(KfpError):
    """The server has no such thing."""


class KfpConflict(KfpError):
    """The server has such a thing already."""


class KfpRateLimited(KfpError):
    """The server wants fewer requests; nothing was done."""

    retryable = True


class KfpServerError(KfpError):
    """The server, or a proxy before it, failed; what it had done by then is unknown."""

    retryable = True
    ambiguous = True


_BY_STATUS: Mapping[int, type[KfpError]] = {
    400: KfpInvalid,
    401: KfpAuthError,
    403: KfpAuthError,
    404: KfpNotFound,
    408: KfpServerError,
    409: KfpConflict,
    429: KfpRateLimited,
}
_BY_GRPC_CODE: Mapping[int, type[KfpError]] = {
    grpcweb.INVALID_ARGUMENT: KfpInvalid,
    grpcweb.NOT_FOUND: KfpNotFound,
    grpcweb.ALREADY_EXISTS: KfpConflict,
    grpcweb.PERMISSION_DENIED: KfpAuthError,
    grpcweb.FAILED_PRECONDITION: KfpInvalid,
    grpcweb.OUT_OF_RANGE: KfpInvalid,
    grpcweb.UNIMPLEMENTED: KfpInvalid,
    grpcweb.UNAUTHENTICATED: KfpAuthError,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What an error is made from: one whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    request: str


def error_from_answer(answer: Answer) -> KfpError:
    """The error that an answer other than 2xx means; its message is the server's own if there is one."""
    if 300 <= answer.status < 400:
        where = answer.headers.get("location", "elsewhere").split("?", 1)[0]
        return KfpAuthError(
            f"redirected to {where}: probably a login page, so the token is missing or refused",
            status=answer.status,
            request=answer.request,
        )
    kind = _BY_STATUS.get(answer.status)
    if kind is None:
        kind = KfpServerError if answer.status >= 500 else KfpInvalid
    message, code, details = _parse_error_body(answer)
    return kind(
        message,
        code=code,
        status=answer.status,
        details=details,
        request=answer.request,
        retry_after_seconds=parse_retry_after(answer.headers.get("retry-after")),
    )


def error_from_grpc(error: grpcweb.GrpcStatusError, request: str) -> KfpError:
    """The error that a gRPC status in trailers means."""
    kind = _BY_GRPC_CODE.get(error.code, KfpServerError)
    return kind(error.message or f"gRPC status {error.code}", code=error.code, request=request)


def looks_like_html(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer is a page for people, by its type or its first character."""
    return "text/html" in headers.get("content-type", "").lower() or body.lstrip()[:1] == b"<"


def parse_retry_after(text: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait by a ``Retry-After`` header, a number or a date; ``None`` if it says nothing."""
    if not text:
        return None
    text = text.strip()
    if text.isdecimal():
        return float(text)
    moment = parse_date(text)
    return None if moment is None else max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def parse_date(text: str | None) -> datetime | None:
    """The moment that an HTTP date names; ``None`` if it names none."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def bounded_text(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """The text without NUL characters, and its beginning alone if it is longer than ``limit``."""
    text = text.replace("\x00", "\ufffd")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _parse_error_body(answer: Answer) -> tuple[str, int | None, tuple[Any, ...]]:
    fallback = f"HTTP {answer.status}"
    if looks_like_html(answer.headers, answer.body):
        return f"{fallback} with an HTML page, so a proxy or gateway answered and not KFP", None, ()
    text = answer.body.decode("utf-8", errors="replace").strip()
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text or fallback, None, ()
    if not isinstance(body, dict):
        return text or fallback, None, ()
    # The upload routes and v1 routes answer in an older shape.
    texts = (body.get(name) for name in ("message", "error", "error_message"))
    message = next((text for text in texts if isinstance(text, str) and text.strip()), fallback)
    code = body.get("code")
    details = body.get("details")
    return (
        str(message),
        code if isinstance(code, int) and not isinstance(code, bool) else None,
        tuple(details) if isinstance(details, list) else (),
    )
