"""What the API answers when it refuses: RFC 9457 problem details with stable types.

    ProblemError
    ├── missing-key            400  POST /runs without a key or a complete origin
    ├── unauthorized           401  no or a wrong bearer token
    ├── forbidden              403  the caller's role in the project does not allow it
    ├── foreign-page           403  a browser sent a change for another site's page
    ├── not-admitted           403  the pipeline breaks a rule of its project
    ├── not-found              404
    ├── superseded             409  a lower try than one already seen, a stale cancel, :retry or :clear
    ├── canceling              409  retryable: the earlier run is being canceled
    ├── not-retryable          409  ``:retry`` of a run that has not failed
    ├── not-clearable          409  ``:clear`` of what goes on, or of what Airflow did not ask for
    ├── backend-paused         409  retryable: ``:retry`` at a backend that nothing is sent to now
    ├── not-reproducible       409  ``:reproduce`` of a run that something is gone of
    ├── too-large              413
    ├── range-not-satisfiable  416
    ├── unknown-host           421  asked under a name that is not the service's
    ├── invalid-request        422  with JSON pointers
    ├── invalid-pipeline       422
    ├── invalid-arguments      422  with JSON pointers
    ├── invalid-gate           422
    ├── unknown-backend        422
    ├── unknown-pipeline       422
    ├── key-reused             422  the same key and try with another body
    ├── queue-full             429  retryable: the project's part of the queue is full
    ├── too-many-requests      429  retryable: the caller sends more than it may
    ├── backend-refused        502  the backend said no to what was asked of it
    ├── scheduler-refused      502  Airflow said no to what was asked of it
    ├── backend-unavailable    503  retryable
    ├── scheduler-unavailable  503  retryable: Airflow does not answer
    ├── identity-unavailable   503  retryable: who knows whose a token is cannot be asked
    ├── content-unavailable    503  retryable: the store of an artifact cannot be read
    ├── database-unavailable   503  retryable
    ├── database-full          507  retryable: there is no room to write; reading goes on
    ├── overloaded             503  retryable: the queue is full
    ├── stopping               503  retryable: the service is about to end
    └── internal               500

Programs decide on ``type``; ``detail`` is for people and may change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from bridge.client.models import Problem, ProblemField
from bridge.domain.redaction import redact_text
from bridge.lineage.errors import DatabaseFull, DatabaseUnavailable

TYPE_PREFIX = "urn:kfbridge:problem:"
MEDIA_TYPE = "application/problem+json"

# slug: (status, title, retryable)
PROBLEMS: Mapping[str, tuple[int, str, bool]] = {
    "missing-key": (400, "The submission has no key", False),
    "unauthorized": (401, "Not authorized", False),
    "forbidden": (403, "Not allowed", False),
    "foreign-page": (403, "Asked by a page that is not the bridge's", False),
    "not-admitted": (403, "The project does not admit the pipeline", False),
    "not-found": (404, "Not found", False),
    "method-not-allowed": (405, "Method not allowed", False),
    "superseded": (409, "Superseded by a newer try", False),
    "canceling": (409, "The earlier run is being canceled", True),
    "not-retryable": (409, "The run cannot be retried", False),
    "not-clearable": (409, "The task cannot be cleared now", False),
    "backend-paused": (409, "The backend is paused", True),
    "not-reproducible": (409, "The run cannot be made again so", False),
    "too-large": (413, "The request is too large", False),
    "range-not-satisfiable": (416, "The range lies outside of the content", False),
    "unknown-host": (421, "The bridge is not known under this name", False),
    "invalid-request": (422, "The request is not valid", False),
    "invalid-pipeline": (422, "The pipeline is not valid", False),
    "invalid-arguments": (422, "The arguments do not fit the pipeline", False),
    "invalid-gate": (422, "The gate is not a valid expression", False),
    "unknown-backend": (422, "There is no such backend", False),
    "unknown-pipeline": (422, "There is no such pipeline", False),
    "key-reused": (422, "The key was used for another request", False),
    "queue-full": (429, "The project's queue is full", True),
    "too-many-requests": (429, "Too many requests", True),
    "internal": (500, "Something went wrong in the bridge", False),
    "backend-refused": (502, "The backend refused", False),
    "scheduler-refused": (502, "Airflow refused", False),
    "backend-unavailable": (503, "The backend cannot be reached", True),
    "scheduler-unavailable": (503, "Airflow cannot be reached", True),
    "identity-unavailable": (503, "Nobody can tell whose the token is now", True),
    "content-unavailable": (503, "The artifact's store cannot be read", True),
    "database-unavailable": (503, "The database cannot be reached", True),
    "database-full": (507, "The database's disk is full", True),
    "overloaded": (503, "The queue is full", True),
    "stopping": (503, "The service is stopping", True),
}
_SLUG_OF_STATUS = {400: "invalid-request", 401: "unauthorized", 404: "not-found", 405: "method-not-allowed"}
_DATABASE_RETRY_SECONDS = 5.0
_DATABASE_FULL_RETRY_SECONDS = 15.0

log = logging.getLogger(__name__)


class ProblemError(Exception):
    """A refusal, by its slug; ``errors`` are (JSON pointer, detail) pairs, ``headers`` are sent with it."""

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        errors: Sequence[tuple[str, str]] = (),
        retry_after_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        status, title, retryable = PROBLEMS[slug]
        self.slug = slug
        self.problem = Problem(
            type=TYPE_PREFIX + slug,
            title=title,
            status=status,
            detail=redact_text(detail),
            retryable=retryable,
            errors=[ProblemField(pointer=pointer, detail=redact_text(text)) for pointer, text in errors],
            retry_after_seconds=retry_after_seconds,
        )


def problem_response(error: ProblemError) -> Response:
    """The answer to send for a refusal, with ``Retry-After`` where it tells when to come again."""
    problem = error.problem
    headers = {"Cache-Control": "no-store", **error.headers}
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after_seconds)))
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content = problem.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def install_handlers(app: FastAPI, sign_in_first: Callable[[Request], Response | None]) -> None:
    """Make every refusal of the application, the framework's own included, a problem; of one to somebody
    whom nobody knows ``sign_in_first`` may make a way to sign in."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        instead = sign_in_first(request) if error.slug == "unauthorized" else None
        return instead or problem_response(error)

    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(DatabaseUnavailable, _on_database)
    app.add_exception_handler(Exception, _on_anything)


async def _on_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [(_pointer(item["loc"]), str(item["msg"])) for item in error.errors()]
    detail = "; ".join(f"{pointer or '/'}: {text}" for pointer, text in fields[:3])
    return problem_response(ProblemError("invalid-request", detail, errors=fields))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    slug = _SLUG_OF_STATUS.get(error.status_code, "internal")
    if slug == "not-found":
        return problem_response(ProblemError(slug, f"there is nothing at {request.url.path}"))
    return problem_response(ProblemError(slug, str(error.detail)))


async def _on_database(request: Request, error: Exception) -> Response:
    if isinstance(error, DatabaseFull):
        log.error("database full", extra={"path": request.url.path, "error": str(error)})
        full = "the disk of the bridge's database is full: nothing was changed; what is stored can be read"
        return problem_response(
            ProblemError("database-full", full, retry_after_seconds=_DATABASE_FULL_RETRY_SECONDS)
        )
    log.error("database unavailable", extra={"path": request.url.path, "error": str(error)})
    detail = "the database of the bridge cannot be reached; nothing was changed, the request can be repeated"
    return problem_response(
        ProblemError("database-unavailable", detail, retry_after_seconds=_DATABASE_RETRY_SECONDS)
    )


async def _on_anything(request: Request, error: Exception) -> Response:
    log.error("request failed", exc_info=error, extra={"path": request.url.path})
    return problem_response(ProblemError("internal", "an unexpected error; the service's log tells more"))


def _pointer(location: Sequence[Any]) -> str:
    """A JSON pointer from the place pydantic names; ``body`` itself is the root."""
    parts = list(location)
    if parts and parts[0] == "body":
        parts = parts[1:]
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
