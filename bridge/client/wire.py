"""One call of the API as a value, and what an answer means: no I/O here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from bridge.client.errors import (
    BridgeBadAnswer,
    BridgeError,
    BridgeUnauthorized,
    BridgeUnreachable,
    ProblemError,
)
from bridge.client.models import Page, Problem

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

PREFIX = "/api/v1"
# A proxy before the bridge answers these while the bridge itself restarts.
_GATEWAY_STATUSES = frozenset({502, 503, 504})


class BadToken(ValueError):
    """The API token cannot be one; it is not repeated in the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request and how its good answer is read.

    ``wait_seconds`` is how long the bridge may take on purpose (a long-poll), on top of the
    client's timeout, or for how long a stream may be silent.
    """

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_seconds: float = 0.0


def base_url(url: str) -> str:
    """The URL a client was given, brought to the form calls are appended to.

    Raises ``ValueError`` for one that is not ``http://host…`` or ``https://host…``.
    """
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is no URL of a bridge; one looks like http://127.0.0.1:8700")
    return str(parsed).rstrip("/").removesuffix(PREFIX)


def bearer(token: str | None) -> dict[str, str]:
    """The headers that carry the token. Raises ``BadToken`` for one that no header can carry."""
    if not token:
        return {}
    if not token.isascii() or not token.isprintable():
        raise BadToken(
            "the API token has characters other than printable ASCII, which no HTTP header can carry"
        )
    return {"Authorization": f"Bearer {token}"}


def model_reader(model: type[ModelT]) -> Callable[[httpx.Response], ModelT]:
    """A parser that reads one JSON object as the given message."""

    def read(response: httpx.Response) -> ModelT:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise _not_the_bridge(response) from error

    return read


def page_reader(model: type[ModelT]) -> Callable[[httpx.Response], Page[ModelT]]:
    """A parser that reads a page of messages; a bare JSON list is a page without a next one."""

    def read(response: httpx.Response) -> Page[ModelT]:
        try:
            answer = json.loads(response.content)
            page = {"items": answer} if isinstance(answer, list) else answer
            return Page[model].model_validate(page)  # type: ignore[valid-type]
        except ValueError as error:
            raise _not_the_bridge(response) from error

    return read


def read_text(response: httpx.Response) -> str:
    """The body as text."""
    return response.text


def read_nothing(response: httpx.Response) -> None:
    """Nothing but that the request was accepted."""


def error_from(response: httpx.Response) -> BridgeError | None:
    """What an answer's status means; ``None`` for a good one. The body has been read."""
    if response.is_success:
        return None
    problem = _problem(response)
    where = _where(response)
    if response.status_code in (401, 403):
        said = problem.detail if problem else f"HTTP {response.status_code}"
        return BridgeUnauthorized(f"{where} refused the token: {said}")
    if problem:
        return ProblemError(problem)
    if response.status_code in _GATEWAY_STATUSES:
        return BridgeUnreachable(
            f"{where} answered HTTP {response.status_code}: the bridge behind it is away",
            url=where,
            sent=True,
            retry_after_seconds=retry_after(response),
        )
    if response.status_code == 429 or response.status_code >= 500:
        return ProblemError(_made_up_problem(response))
    return _not_the_bridge(response)


def unreachable(error: httpx.TransportError, url: str, timeout_seconds: float) -> BridgeUnreachable:
    """What a broken exchange means, in a person's words."""
    sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    if isinstance(error, httpx.TimeoutException):
        said = f"did not answer within {timeout_seconds:g} s"
    elif sent:
        said = f"broke the connection off ({_cause(error)})"
    else:
        said = f"cannot be connected to ({_cause(error)})"
    return BridgeUnreachable(f"the bridge at {url} {said}", url=url, sent=sent)


def retry_after(response: httpx.Response) -> float | None:
    """The ``Retry-After`` header as seconds from now, whichever of its two forms it has."""
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _problem(response: httpx.Response) -> Problem | None:
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return None
    if problem.retry_after_seconds is None:
        problem.retry_after_seconds = retry_after(response)
    return problem


def _made_up_problem(response: httpx.Response) -> Problem:
    return Problem(
        type="about:blank",
        title=response.reason_phrase or "Error",
        status=response.status_code,
        detail=f"{_where(response)} answered HTTP {response.status_code} {response.reason_phrase}".rstrip(),
        retryable=response.status_code == 429,
        retry_after_seconds=retry_after(response),
    )


def _not_the_bridge(response: httpx.Response) -> BridgeBadAnswer:
    kind = response.headers.get("content-type", "no content type").split(";")[0]
    return BridgeBadAnswer(
        f"{_where(response)} answered HTTP {response.status_code} with {kind}, which is no "
        "answer of the bridge: is the URL right, and is a proxy or a login page in between?"
    )


def _where(response: httpx.Response) -> str:
    url = response.request.url
    return f"{url.scheme}://{url.netloc.decode()}"


def _cause(error: BaseException) -> str:
    """The innermost reason, such as ``Connection refused``, without the library's wrapping."""
    deepest: BaseException = error
    for _ in range(8):
        inner = deepest.__cause__ or deepest.__context__
        if inner is None:
            break
        deepest = inner
    if isinstance(deepest, OSError) and deepest.strerror:
        return deepest.strerror
    return str(error) or type(error).__name__
